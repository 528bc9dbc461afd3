//! Authentication by signed tokens: where clients put them, and what is wrong with those that are rejected.

use roomwire::auth::Subject;
use roomwire::metrics::labels::{Label, TokenResult};
use roomwire::token::{Algorithm, SigningKey};
use serde_json::{Value, json};

use crate::support::server::{config_with_file, write_file};
use crate::support::tokens::{self, SECRET, SETTING, claims, seconds, sign, signed_by};
use crate::support::{PollingClient, TestServer, WebsocketClient};

/// The response to a CONNECT with this auth payload.
async fn connect(node: &TestServer, auth: &Value) -> String {
    let mut client = node.websocket().await;
    client.send(&format!("40{auth}")).await;
    client.text().await
}

/// The response to a CONNECT with a token in the auth payload.
async fn present(node: &TestServer, token: &str) -> String {
    connect(node, &json!({"token": token})).await
}

/// The code of a rejected CONNECT.
fn code(response: &str) -> String {
    let Some(error) = response.strip_prefix("44") else {
        panic!("accepted: {response}");
    };
    let error: Value = serde_json::from_str(error).unwrap();
    assert!(error["message"].as_str().is_some_and(|it| it.len() > 10));
    error["data"]["code"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn a_valid_token_is_accepted_over_both_transports_and_a_missing_one_rejected() {
    let node = TestServer::with(&[SETTING]).await;
    let valid = tokens::token(json!({}));
    assert!(present(&node, &valid).await.starts_with("40{"));
    let mut polling = node.polling().await;
    polling.send(&format!(r#"40{{"token":"{valid}"}}"#)).await;
    assert!(polling.next().await.starts_with("40{"));

    let rejected = r#"44{"message":"A token is required","data":{"code":"token_missing"}}"#;
    assert_eq!(connect(&node, &json!({})).await, rejected);
    assert_eq!(connect(&node, &json!({"token": null})).await, rejected);
    assert_eq!(connect(&node, &json!({"token": ""})).await, rejected);
    let tokens = &node.metrics().auth_tokens_total;
    assert_eq!(tokens.of(TokenResult::Accepted).get(), 2);
    assert_eq!(tokens.of(TokenResult::Missing).get(), 3);
}

#[actix_rt::test]
async fn a_rejected_client_stays_connected_and_can_try_another_token() {
    let node = TestServer::with(&[SETTING]).await;
    let mut client = node.websocket().await;
    client.send("40").await;
    assert_eq!(code(&client.text().await), "token_missing");
    client
        .send(&format!(r#"40{{"token":"{}"}}"#, tokens::token(json!({}))))
        .await;
    assert!(client.text().await.starts_with("40{"));
}

/// A token with the issuer and audience that the node accepts, unless `more` has others.
fn token(more: Value) -> String {
    let mut usual = json!({"iss": "i", "aud": "a"});
    for (name, value) in more.as_object().unwrap() {
        usual[name] = value.clone();
    }
    tokens::token(usual)
}

/// Each token that is rejected, with its code and counter.
fn bad_tokens() -> Vec<(String, TokenResult)> {
    let valid = token(json!({}));
    let (signed, signature) = valid.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let admin = base64url(&claims(json!({"sub": "admin"})).to_string());
    let none = base64url(r#"{"alg":"none"}"#);
    let critical = base64url(r#"{"alg":"HS256","crit":["exp"]}"#);
    let foreign = SigningKey::secret(b"another secret of forty characters or so")
        .sign(Algorithm::Hs256, None, &claims(json!({})).to_string())
        .unwrap();
    let public_as_secret = SigningKey::secret(tokens::RSA.1.as_bytes())
        .sign(Algorithm::Hs256, None, &claims(json!({})).to_string())
        .unwrap();
    vec![
        ("x".to_owned(), TokenResult::Malformed),
        ("a.b.c".to_owned(), TokenResult::Malformed),
        (format!("{header}.{payload}."), TokenResult::Signature),
        (
            format!("{header}.{admin}.{signature}"),
            TokenResult::Signature,
        ),
        (foreign, TokenResult::Signature),
        (public_as_secret, TokenResult::Signature),
        (format!("{none}.{payload}."), TokenResult::Algorithm),
        (
            format!("{critical}.{payload}.{signature}"),
            TokenResult::Critical,
        ),
        // The node has an RSA key, for RS256 alone, and no key of a curve.
        (
            signed_by(tokens::RSA.0, Algorithm::Rs512, None),
            TokenResult::Algorithm,
        ),
        (
            signed_by(tokens::P256.0, Algorithm::Es256, None),
            TokenResult::Algorithm,
        ),
    ]
}

/// Tokens with a valid signature whose claims are rejected.
fn bad_claims() -> Vec<(String, TokenResult)> {
    let hs256 = |claims: Value| sign(&claims, Algorithm::Hs256, None);
    vec![
        (token(json!({"exp": seconds(-60)})), TokenResult::Expired),
        (token(json!({"nbf": seconds(60)})), TokenResult::NotYetValid),
        (token(json!({"iat": seconds(60)})), TokenResult::NotYetValid),
        (
            token(json!({"iss": "https://other.example"})),
            TokenResult::Issuer,
        ),
        (token(json!({"iss": 7})), TokenResult::Issuer),
        (token(json!({"aud": "other"})), TokenResult::Audience),
        (token(json!({"aud": ["other", 7]})), TokenResult::Audience),
        (
            hs256(json!({"exp": seconds(60), "iss": "i", "aud": "a"})),
            TokenResult::Malformed,
        ),
        (
            hs256(json!({"sub": "anna", "iss": "i", "aud": "a"})),
            TokenResult::Malformed,
        ),
        (token(json!({"exp": "never"})), TokenResult::Malformed),
        (token(json!({"exp": -1})), TokenResult::Malformed),
        (token(json!({"sub": ""})), TokenResult::Malformed),
        (token(json!({"sub": "a\nb"})), TokenResult::Malformed),
        (token(json!({"sub": ["anna"]})), TokenResult::Malformed),
        (token(json!({"jti": 7})), TokenResult::Malformed),
        (token(json!({"roomwire": []})), TokenResult::Malformed),
        (
            token(json!({"roomwire": {"rooms": "a"}})),
            TokenResult::Malformed,
        ),
        (
            token(json!({"roomwire": {"can": {"a": ["fly"]}}})),
            TokenResult::Malformed,
        ),
        (token(json!({"room": "team:1"})), TokenResult::Malformed),
        (
            token(json!({"sub": "x".repeat(3000)})),
            TokenResult::TooLarge,
        ),
    ]
}

/// Base64url as tokens have it.
fn base64url(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[actix_rt::test]
async fn each_problem_of_a_token_has_its_code_and_counter() {
    let rsa = write_file("rsa.pub.pem", tokens::RSA.1);
    let file = format!(
        "[auth]\nsecret = \"{SECRET}\"\nissuers = [\"i\", \"j\"]\naudiences = [\"a\", \"b\"]\n\
         token_limit = \"2KiB\"\n\
         [[auth.keys]]\npublic_key_file = {rsa:?}\nalgorithms = [\"RS256\"]\n"
    );
    let node = TestServer::configured(config_with_file(&[], Some(&file)), None).await;
    let accepted = [
        token(json!({"iss": "j", "aud": "b"})),
        token(json!({"iss": "i", "aud": ["x", "a"], "nbf": seconds(20), "exp": seconds(-20)})),
    ];
    for text in accepted {
        let response = present(&node, &text).await;
        assert!(response.starts_with("40{"), "{response}");
    }
    for (text, result) in bad_tokens().into_iter().chain(bad_claims()) {
        let tokens = &node.metrics().auth_tokens_total;
        let before = tokens.of(result).get();
        let response = present(&node, &text).await;
        let expected = TokenResult::VALUES[result.index()];
        assert_eq!(code(&response), expected, "{text}");
        assert_eq!(tokens.of(result).get(), before + 1, "{text}");
        assert!(!response.contains("temporary"), "{response}");
    }
}

#[actix_rt::test]
async fn every_algorithm_is_accepted_with_the_key_of_its_family() {
    let write = |name: &str, text: &str| write_file(name, text);
    let file = format!(
        "[auth]\nsecret_file = {:?}\npublic_key_file = {:?}\n\
         [[auth.keys]]\npublic_key_file = {:?}\n\
         [[auth.keys]]\npublic_key_file = {:?}\n\
         [[auth.keys]]\npublic_key_file = {:?}\n",
        write("secret", &format!(" {SECRET}\n")),
        write("rsa.pub.pem", tokens::RSA.1),
        write("p256.pub.pem", tokens::P256.1),
        write("p384.pub.pem", tokens::P384.1),
        write("ed25519.pub.pem", tokens::ED25519.1),
    );
    let node = TestServer::configured(config_with_file(&[], Some(&file)), None).await;
    for (name, algorithm) in Algorithm::NAMES {
        let private = match name.get(..2) {
            Some("RS" | "PS") => Some(tokens::RSA.0),
            Some("Ed") => Some(tokens::ED25519.0),
            _ if name == "ES256" => Some(tokens::P256.0),
            _ if name == "ES384" => Some(tokens::P384.0),
            _ => None,
        };
        let text = match private {
            Some(private) => signed_by(private, algorithm, None),
            None => sign(&claims(json!({})), algorithm, None),
        };
        let response = present(&node, &text).await;
        assert!(response.starts_with("40{"), "{name}: {response}");
    }
}

#[actix_rt::test]
async fn the_first_configured_source_that_has_a_token_counts() {
    let sources = ("AUTH__SOURCES", "auth:jwt,header,query:jid,cookie:session");
    let node = TestServer::with(&[SETTING, sources]).await;
    let valid = tokens::token(json!({}));
    let bearer = format!("bearer {valid}");
    let cookie = format!("a=1; session={valid}");
    let broken = "Bearer broken".to_owned();
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Headers<'_>, &str, &str, &str); 8] = [
        (&[], "", &format!(r#"{{"jwt":"{valid}"}}"#), "40{"),
        (&[], "", &format!(r#"{{"jwt":"Bearer {valid}"}}"#), "40{"),
        (&[("Authorization", &bearer)], "", "", "40{"),
        (&[], &format!("&jid={valid}"), "", "40{"),
        (&[("Cookie", &cookie)], "", "", "40{"),
        // An earlier source wins even if its token is invalid.
        (
            &[("Authorization", &broken), ("Cookie", &cookie)],
            "",
            "",
            "44{",
        ),
        (&[("Cookie", &cookie)], "", r#"{"jwt":7}"#, "44{"),
        // Another scheme is not a token.
        (
            &[("Authorization", "Basic YTpi"), ("Cookie", &cookie)],
            "",
            "",
            "40{",
        ),
    ];
    for (headers, query, auth, prefix) in cases {
        let target = format!("/socket.io/?EIO=4&transport=websocket{query}");
        let mut client = WebsocketClient::handshake(&node.address(), &target, headers, false)
            .await
            .unwrap_or_else(|rejected| panic!("{rejected:?}"));
        client.text().await;
        client.send(&format!("40{auth}")).await;
        let response = client.text().await;
        assert!(
            response.starts_with(prefix),
            "{headers:?} {query} {auth}: {response}"
        );
    }
    let mut polling =
        PollingClient::open_with(&node.address(), &[("Authorization", &bearer)]).await;
    polling.send("40").await;
    assert!(polling.next().await.starts_with("40{"));
}

#[actix_rt::test]
async fn without_required_clients_without_a_token_are_anonymous_and_bad_tokens_rejected() {
    let node = TestServer::with(&[SETTING, ("AUTH__REQUIRED", "off")]).await;
    assert!(connect(&node, &json!({})).await.starts_with("40{"));
    let expired = tokens::token(json!({"exp": seconds(-60)}));
    assert_eq!(code(&present(&node, &expired).await), "token_expired");
    let tokens = &node.metrics().auth_tokens_total;
    assert_eq!(tokens.of(TokenResult::Anonymous).get(), 1);
}

#[actix_rt::test]
async fn a_revoked_token_is_counted_as_revoked_and_not_as_accepted() {
    let node = TestServer::with(&[SETTING]).await;
    let revocations = &node.server.users().revocations;
    let revoked = revocations.revoke(Subject::Token("t1".into()), None);
    revoked.await.unwrap();
    let rejected = present(&node, &tokens::token(json!({"jti": "t1"}))).await;
    assert_eq!(code(&rejected), "token_revoked");
    assert!(
        present(&node, &tokens::token(json!({"jti": "t2"})))
            .await
            .starts_with("40{")
    );
    let tokens = &node.metrics().auth_tokens_total;
    assert_eq!(tokens.of(TokenResult::Revoked).get(), 1);
    assert_eq!(tokens.of(TokenResult::Accepted).get(), 1);
}

#[actix_rt::test]
async fn keys_overlap_and_end_at_a_reload_or_at_their_time() {
    let key = |kid: &str, secret: &str, end: &str| {
        format!("[[auth.keys]]\nkid = \"{kid}\"\nsecret = \"{secret}\"\nnot_after = \"{end}\"\n")
    };
    let former = "the former secret, of forty characters..";
    let file = [
        key("new", SECRET, "2999-01-01"),
        key("old", former, "2998-12-31T23:59:59Z"),
        key(
            "dead",
            "a secret that is not valid any longer",
            "2020-01-01",
        ),
    ]
    .concat();
    let node = TestServer::configured(config_with_file(&[], Some(&file)), None).await;
    let by = |secret: &str, kid: Option<&str>| {
        let signer = SigningKey::secret(secret.as_bytes());
        let claims = claims(json!({})).to_string();
        signer.sign(Algorithm::Hs256, kid, &claims).unwrap()
    };
    for (secret, kid) in [
        (SECRET, Some("new")),
        (former, Some("old")),
        (SECRET, None),
        (former, None),
    ] {
        let response = present(&node, &by(secret, kid)).await;
        assert!(response.starts_with("40{"), "{kid:?}: {response}");
    }
    for (secret, kid, expected) in [
        (SECRET, Some("old"), "token_signature"),
        (SECRET, Some("other"), "token_key_unknown"),
        (
            "a secret that is not valid any longer",
            Some("dead"),
            "token_key_unknown",
        ),
        (
            "a secret that is not valid any longer",
            None,
            "token_signature",
        ),
    ] {
        assert_eq!(code(&present(&node, &by(secret, kid)).await), expected);
    }
    node.server.apply(&config_with_file(
        &[],
        Some(&key("new", SECRET, "2999-01-01")),
    ));
    assert!(
        present(&node, &by(SECRET, Some("new")))
            .await
            .starts_with("40{")
    );
    let response = present(&node, &by(former, Some("old"))).await;
    assert_eq!(code(&response), "token_key_unknown");
}
