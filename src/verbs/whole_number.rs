//! Whole numbers of requests. JSON has one kind of numbers: `3`, `3.0` and `3e0` are the same, and some languages write
//! every number with a fraction.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The integer that a number equals, from 0 to 2^53. Above, neighbouring integers are the same number.
pub(super) fn whole(number: f64) -> Option<u64> {
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let is_whole = number.fract() == 0.0 && (0.0..=LARGEST).contains(&number);
    is_whole.then_some(number as u64)
}

/// Deserializes an optional whole number, for fields with `#[serde(default)]`.
///
/// # Errors
/// It is another value, negative, or out of the range of `N`.
pub fn whole_number<'de, D, N>(deserializer: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let number = Option::<Whole<N>>::deserialize(deserializer)?;
    Ok(number.map(|number| number.0))
}

struct Whole<N>(N);

impl<'de, N: TryFrom<u64>> Deserialize<'de> for Whole<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<N>(PhantomData<N>);

impl<N: TryFrom<u64>> Visitor<'_> for WholeVisitor<N> {
    type Value = Whole<N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = 8 * size_of::<N>();
        write!(f, "a whole number from 0, of at most {bits} bits")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Whole<N>, E> {
        let converted = N::try_from(number).map(Whole);
        converted.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Whole<N>, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Whole<N>, E> {
        match whole(number) {
            Some(number) => self.visit_u64(number),
            None => Err(E::invalid_value(Unexpected::Float(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Limits {
        #[serde(default, deserialize_with = "whole_number")]
        limit: Option<u32>,
    }

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let parse = |json: &str| {
            let limits = serde_json::from_str(&format!(r#"{{"limit":{json}}}"#));
            limits.map(|limits: Limits| limits.limit)
        };
        for json in ["3", "3.0", "3e0", "30e-1", "0.3e1"] {
            assert_eq!(parse(json).unwrap(), Some(3), "{json}");
        }
        assert_eq!(parse("null").unwrap(), None);
        assert_eq!(parse("-0").unwrap(), Some(0));
        assert_eq!(parse("4294967295").unwrap(), Some(u32::MAX));
        for json in [
            "3.5",
            "-1",
            "-1.0",
            "4294967296",
            "1e300",
            "\"3\"",
            "true",
            "[]",
        ] {
            let error = parse(json).unwrap_err().to_string();
            assert!(error.contains("whole number"), "{json}: {error}");
        }
        let absent: Limits = serde_json::from_str("{}").unwrap();
        assert_eq!(absent.limit, None);
    }
}
