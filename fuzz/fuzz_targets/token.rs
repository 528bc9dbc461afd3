//! No text is accepted as a token unless a key signed it, and no signed claims make the checks panic.

#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use roomwire::auth::Verifier;
use roomwire::config::{Config, Sources, load};
use roomwire::metrics::Metrics;
use roomwire::token::{Algorithm, CompactToken, SigningKey, VerifyingKey, read_key_set};

const SECRET: &str = "a secret of forty characters, more or less";

fn config() -> Config {
    let name = "ROOMWIRE_AUTH__SECRET".to_owned();
    let environment = [(name, SECRET.to_owned())].into_iter().collect();
    let file = None;
    load(&Sources { file, environment })
        .expect("the configuration is valid")
        .config
}

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Arc<Verifier>> = OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::new(&config().auth, Arc::new(Metrics::default())))
}

fuzz_target!(|bytes: &[u8]| {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let _ = read_key_set(bytes);
    let _ = VerifyingKey::from_pem(bytes);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // As a token: nobody has signed it.
    if let Ok(token) = CompactToken::parse(text) {
        assert!(!token.is_signed_by(&VerifyingKey::secret(SECRET.as_bytes())));
        let _ = token.claims();
    }
    assert!(verifier().claims_now(text, now).is_err());
    // As the claims of a signed token.
    let signer = SigningKey::secret(SECRET.as_bytes());
    let signed = signer
        .sign(Algorithm::Hs256, None, text)
        .expect("the algorithm fits the key");
    let _ = verifier().claims_now(&signed, now);
    if let Some(Ok(verified)) = verifier().verify_now(&signed) {
        assert!(!verified.identity.user.is_empty());
        assert!(verified.identity.user.len() <= 256);
    }
});
