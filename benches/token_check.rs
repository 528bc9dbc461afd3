//! CPU time of one token check, as at the CONNECT of a client: signature, times and claims.
//!
//! `cargo bench --profile dist --bench token_check` prints a line for each algorithm. With arguments, only for those.

use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use roomwire::auth::Verifier;
use roomwire::config::{self, Environment, Sources};
use roomwire::metrics::Metrics;
use roomwire::token::{Algorithm, SigningKey};

const SECRET: &str = "a secret of forty characters, more or less";
const CLAIMS: &str = r#"{"iss":"https://login.example.org","sub":"user-000123","jti":"0f8fad5bd9cb469f","iat":1767225600,"exp":4102444800,"name":"Ada Lovelace","roomwire":{"rooms":["team:7","news"],"can":{"team:7:*":["join","emit"]}}}"#;
const SAMPLES: usize = 11;
const SAMPLE: Duration = Duration::from_millis(300);

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let keys = format!("{}/src/token/test_keys", env!("CARGO_MANIFEST_DIR"));
    for (algorithm, key) in [
        (Algorithm::Hs256, None),
        (Algorithm::Rs256, Some("rsa")),
        (Algorithm::Ps256, Some("rsa")),
        (Algorithm::Es256, Some("p256")),
        (Algorithm::Es384, Some("p384")),
        (Algorithm::EdDsa, Some("ed25519")),
    ] {
        let name = algorithm.name();
        if !names.is_empty() && !names.iter().any(|it| it == name) {
            continue;
        }
        let setting = match key {
            Some(key) => ("PUBLIC_KEY_FILE", format!("{keys}/{key}.pub.pem")),
            None => ("SECRET", SECRET.to_owned()),
        };
        let signing = match key {
            Some(key) => SigningKey::from_pem(&fs::read(format!("{keys}/{key}.pem"))?)?,
            None => SigningKey::secret(SECRET.as_bytes()),
        };
        let token = signing.sign(algorithm, None, CLAIMS)?;
        let verifier = verifier(setting)?;
        let mut costs = measure(&verifier, &token)?;
        costs.sort_by(f64::total_cmp);
        let (median, least, most) = (costs[SAMPLES / 2], costs[0], costs[SAMPLES - 1]);
        writeln!(
            std::io::stdout(),
            "{name}: {median:.1} µs ({least:.1}-{most:.1})"
        )?;
    }
    Ok(())
}

/// A verifier with one key, and the default configuration besides.
fn verifier((name, value): (&str, String)) -> Result<Arc<Verifier>> {
    let environment = Environment::from_iter([(format!("ROOMWIRE_AUTH__{name}"), value)]);
    let file = None;
    let loaded =
        config::load(&Sources { file, environment }).map_err(|rejected| anyhow!("{rejected:?}"))?;
    Ok(Verifier::new(
        &loaded.config.auth,
        Arc::new(Metrics::default()),
    ))
}

/// Microseconds of CPU for one check, by sample.
fn measure(verifier: &Verifier, token: &str) -> Result<Vec<f64>> {
    let check = || -> Result<()> {
        let verified = verifier.verify_now(black_box(token));
        let verified = verified.context("the key is missing")?;
        black_box(verified.map_err(|rejection| anyhow!("{rejection:?}"))?);
        Ok(())
    };
    let sample = || -> Result<f64> {
        let (begun, cpu) = (Instant::now(), cpu_time()?);
        let mut count = 0_u32;
        while begun.elapsed() < SAMPLE {
            for _ in 0..100 {
                check()?;
            }
            count += 100;
        }
        Ok((cpu_time()? - cpu).as_secs_f64() * 1e6 / f64::from(count))
    };
    // The first sample warms up.
    sample()?;
    (0..SAMPLES).map(|_| sample()).collect()
}

/// CPU time of this thread.
fn cpu_time() -> Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text
        .split_ascii_whitespace()
        .next()
        .context("schedstat is empty")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
