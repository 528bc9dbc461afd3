//! Every algorithm signs and verifies, and no key verifies what another one signed.

use super::*;

/// Files of keys made by openssl: for each family a private key and its public key.
const KEYS: [(KeyFamily, &str, &str); 4] = [
    (
        KeyFamily::Rsa,
        include_str!("test_keys/rsa.pem"),
        include_str!("test_keys/rsa.pub.pem"),
    ),
    (
        KeyFamily::P256,
        include_str!("test_keys/p256.pem"),
        include_str!("test_keys/p256.pub.pem"),
    ),
    (
        KeyFamily::P384,
        include_str!("test_keys/p384.pem"),
        include_str!("test_keys/p384.pub.pem"),
    ),
    (
        KeyFamily::Ed25519,
        include_str!("test_keys/ed25519.pem"),
        include_str!("test_keys/ed25519.pub.pem"),
    ),
];

const SECRET: &[u8] = b"a secret that has 32 bytes or so";

fn signing(family: KeyFamily) -> SigningKey {
    let pem = KEYS.iter().find(|(known, ..)| *known == family);
    pem.map_or_else(
        || SigningKey::secret(SECRET),
        |(_, private, _)| SigningKey::from_pem(private.as_bytes()).unwrap(),
    )
}

fn verifying(family: KeyFamily) -> VerifyingKey {
    let pem = KEYS.iter().find(|(known, ..)| *known == family);
    pem.map_or_else(
        || VerifyingKey::secret(SECRET),
        |(.., public)| VerifyingKey::from_pem(public.as_bytes()).unwrap(),
    )
}

#[test]
fn a_token_of_every_algorithm_is_verified_by_the_key_of_its_family_alone() {
    let families = [
        KeyFamily::Hmac,
        KeyFamily::Rsa,
        KeyFamily::P256,
        KeyFamily::P384,
        KeyFamily::Ed25519,
    ];
    for (name, algorithm) in Algorithm::NAMES {
        let key = signing(algorithm.family());
        let text = key.sign(algorithm, Some("k"), r#"{"sub":"anna"}"#).unwrap();
        let token = CompactToken::parse(&text).unwrap();
        assert_eq!(token.header().key.as_deref(), Some("k"));
        assert_eq!(token.claims().unwrap()["sub"], "anna");
        for family in families {
            let verified = token.is_signed_by(&verifying(family));
            assert_eq!(verified, family == algorithm.family(), "{name} {family:?}");
        }
        // Any changed byte breaks the signature.
        let (signed, signature) = text.rsplit_once('.').unwrap();
        let forged = format!("{}A.{signature}", &signed[..signed.len() - 1]);
        let forged = CompactToken::parse(&forged).unwrap();
        assert!(
            !forged.is_signed_by(&verifying(algorithm.family())),
            "{name}"
        );
    }
}

#[test]
fn a_public_key_is_no_secret() {
    for (_, _, public) in KEYS {
        let text = SigningKey::secret(public.as_bytes())
            .sign(Algorithm::Hs256, None, "{}")
            .unwrap();
        let token = CompactToken::parse(&text).unwrap();
        let key = VerifyingKey::from_pem(public.as_bytes()).unwrap();
        assert!(!token.is_signed_by(&key));
        assert!(!key.allows(Algorithm::Hs256));
    }
}

#[test]
fn a_key_limited_to_algorithms_verifies_no_other() {
    let key = verifying(KeyFamily::Hmac);
    let limited = key.clone().limited_to(vec![Algorithm::Hs512]).unwrap();
    let text = signing(KeyFamily::Hmac).sign(Algorithm::Hs256, None, "{}");
    let text = text.unwrap();
    let token = CompactToken::parse(&text).unwrap();
    assert!(token.is_signed_by(&key));
    assert!(!token.is_signed_by(&limited));
    let foreign = key.limited_to(vec![Algorithm::Rs256]).unwrap_err();
    assert_eq!(foreign.to_string(), "RS256 is not an algorithm of a secret");
}

#[test]
fn unusable_pem_files_are_rejected_with_a_reason() {
    let rejected = |text: &str| VerifyingKey::from_pem(text.as_bytes()).unwrap_err();
    assert_eq!(rejected("no key"), InvalidKey::NotPem);
    assert_eq!(rejected(KEYS[0].1), InvalidKey::Private);
    let broken = "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n";
    assert_eq!(rejected(broken), InvalidKey::Malformed);
    let signing = SigningKey::from_pem(KEYS[0].2.as_bytes()).unwrap_err();
    assert_eq!(signing, InvalidKey::NotPrivate);
}

#[test]
fn debug_prints_no_key() {
    let key = VerifyingKey::secret(b"secret").with_id(Some("k".to_owned()));
    let shown = format!("{key:?} {:?}", SigningKey::secret(b"secret"));
    let expected = r#"VerifyingKey { id: Some("k"), family: Hmac, .. } SigningKey(Hmac)"#;
    assert_eq!(shown, expected);
}
