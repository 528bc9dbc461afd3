//! Finds values in JSON text without decoding the others: the values of chosen members of an object or array.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The values of the members `names` of an object or array, in the order of `names`; none of other values. Of members with
/// the same name the last one counts, as in JavaScript.
///
/// # Errors
/// It is not JSON.
pub(super) fn members<'a>(
    json: &'a [u8],
    names: &[String],
) -> Result<Vec<Option<&'a RawValue>>, serde_json::Error> {
    let mut found = vec![None; names.len()];
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Members {
        names,
        found: &mut found,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

struct Members<'n, 'a> {
    names: &'n [String],
    found: &'n mut [Option<&'a RawValue>],
}

impl<'a> DeserializeSeed<'a> for Members<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Members<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(index) = map.next_key_seed(MemberName(self.names))? {
            match index.and_then(|index| self.found.get_mut(index)) {
                Some(found) => *found = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        let mut number = 0_usize;
        while let Some(value) = items.next_element::<&'a RawValue>()? {
            let index = position(self.names, &number.to_string());
            if let Some(found) = index.and_then(|index| self.found.get_mut(index)) {
                *found = Some(value);
            }
            number += 1;
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

fn position(names: &[String], name: &str) -> Option<usize> {
    names.iter().position(|wanted| wanted == name)
}

/// Reads a name as its index in a list of names.
struct MemberName<'n>(&'n [String]);

impl<'a> DeserializeSeed<'a> for MemberName<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for MemberName<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(position(self.0, name))
    }
}
