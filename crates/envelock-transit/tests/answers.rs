//! The decoder of answers: what the service was seen to answer, and one change of it at a time.

use envelock::KeyVersion;
use envelock::keyring::Refusal;
use envelock_remote::ServiceError;
use envelock_transit::answer::{self, Answer};

const BLOB: &str =
    "ufOX3Ei+CtmhAGuIbb9iZ2XqKZlE5uCFCNT7zpJzFV3NPbt45sR2YWZ80vMq5r6JOO9zvC3Z5o3IafyJ";

const KEY: &str = r#"{"request_id":"1","data":{"allow_plaintext_backup":false,"auto_rotate_period":0,"convergent_encryption":false,"deletion_allowed":false,"derived":true,"exportable":false,"imported_key":false,"kdf":"hkdf_sha256","keys":{"2":1796078336,"3":1796078337},"latest_version":3,"min_available_version":0,"min_decryption_version":2,"min_encryption_version":0,"name":"k","soft_deleted":false,"type":"aes256-gcm96"},"warnings":null}"#;

fn of(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after: None, body: body.as_bytes() }
}

fn batch(item: &str) -> String {
    format!(r#"{{"data":{{"batch_results":[{item}]}}}}"#)
}

/// The name of a variant, and of the refusal in it.
fn shown<T>(result: Result<T, ServiceError>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(ServiceError::Authentication) => "authentication",
        Err(ServiceError::UnknownKey) => "unknown key",
        Err(ServiceError::Refused(Refusal::Disabled)) => "disabled",
        Err(ServiceError::Refused(Refusal::UnknownVersion)) => "unknown version",
        Err(ServiceError::Denied(_)) => "denied",
        Err(ServiceError::Throttled { .. }) => "throttled",
        Err(ServiceError::Unavailable(_)) => "unavailable",
        Err(ServiceError::Broken(_)) => "broken",
        Err(_) => "another",
    }
}

#[test]
fn each_status_and_text_has_its_error() {
    for (status, body, expected) in [
        (400, r#"{"errors":["cipher: message authentication failed"]}"#, "authentication"),
        (
            400,
            r#"{"errors":["ciphertext or signature version is disallowed by policy (too old)"]}"#,
            "disabled",
        ),
        (400, r#"{"errors":["invalid ciphertext: version is too new"]}"#, "unknown version"),
        (400, r#"{"errors":["refusing to use soft-deleted key"]}"#, "disabled"),
        (400, r#"{"errors":["encryption key not found"]}"#, "unknown key"),
        (400, r#"{"errors":["unknown key type existing-key-only"]}"#, "unknown key"),
        (400, r#"{"errors":["something else"]}"#, "broken"),
        (400, "", "broken"),
        (401, "", "denied"),
        (403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#, "denied"),
        (404, r#"{"errors":[]}"#, "unknown key"),
        (404, r#"{"errors":["namespace not found"]}"#, "broken"),
        (404, "<html>", "broken"),
        (405, r#"{"errors":["unsupported operation"]}"#, "broken"),
        (307, "", "unavailable"),
        (412, "", "unavailable"),
        (429, "", "throttled"),
        (500, r#"{"errors":["internal error"]}"#, "unavailable"),
        (502, "<html>", "unavailable"),
        (503, r#"{"errors":["Vault is sealed"]}"#, "unavailable"),
        (599, "", "unavailable"),
        (200, "", "broken"),
        (200, "{}", "broken"),
        (200, r#"{"data":null}"#, "broken"),
        (204, "", "broken"),
    ] {
        let answer = of(status, body);
        assert_eq!(shown(answer::encrypted(&answer, 1)), expected, "{status} {body}");
        assert_eq!(shown(answer::decrypted(&answer, 1)), expected, "{status} {body}");
        assert_eq!(shown(answer::key(&answer)), expected, "{status} {body}");
    }
}

#[test]
fn wait_is_in_seconds_alone() {
    for (value, expected) in [
        (Some("7"), Some(7)),
        (Some(" 7 "), Some(7)),
        (Some("-7"), None),
        (Some("Mon, 30 Nov 2026 22:47:54 GMT"), None),
        (Some("99999999999999999999"), None),
        (None, None),
    ] {
        let answer = Answer { retry_after: value.map(str::as_bytes), ..of(429, "") };
        let Err(error) = answer::done(&answer) else { panic!("it is an error") };
        assert_eq!(error.retry_after().map(|wait| wait.as_secs()), expected, "{value:?}");
    }
}

#[test]
fn ciphertext_is_its_canonical_form_alone() {
    let item = |ciphertext: &str| batch(&format!(r#"{{"ciphertext":"{ciphertext}"}}"#));
    let body = item(&format!("vault:v12:{BLOB}"));
    let wrapped = answer::encrypted(&of(200, &body), 1).unwrap().remove(0).unwrap();
    assert_eq!((wrapped.version.number(), wrapped.blob.len()), (12, 60));
    for ciphertext in [
        format!("vault:v0:{BLOB}"),
        format!("vault:v01:{BLOB}"),
        format!("vault:v+1:{BLOB}"),
        format!("vault:v 1:{BLOB}"),
        format!("vault:v-1:{BLOB}"),
        format!("vault:v:{BLOB}"),
        format!("vault:v4294967296:{BLOB}"),
        format!("Vault:v1:{BLOB}"),
        format!(" vault:v1:{BLOB}"),
        format!("vault:v1:{BLOB} "),
        format!("vault:v1:v1:{BLOB}"),
        format!("vault:v1{BLOB}"),
        format!("vault:v1:{}", &BLOB[4..]),
        format!("vault:v1:{}", &BLOB[1..]),
        "vault:v1:".to_owned(),
        String::new(),
    ] {
        let body = item(&ciphertext);
        let decoded = answer::encrypted(&of(200, &body), 1).unwrap().remove(0);
        assert_eq!(shown(decoded), "broken", "{ciphertext}");
    }
    for (version, expected) in [(1, "ok"), (2, "broken"), (0, "broken")] {
        let body = batch(&format!(r#"{{"ciphertext":"vault:v1:{BLOB}","key_version":{version}}}"#));
        let decoded = answer::encrypted(&of(200, &body), 1).unwrap().remove(0);
        assert_eq!(shown(decoded), expected, "{version}");
    }
}

#[test]
fn batch_has_as_many_results_as_it_had_items() {
    let two = batch(
        r#"{"plaintext":"AAAA"},{"plaintext":"","error":"cipher: message authentication failed"}"#,
    );
    for status in [200, 400, 500] {
        for count in [0, 1, 3] {
            assert_eq!(shown(answer::decrypted(&of(status, &two), count)), "broken");
        }
        let answers = answer::decrypted(&of(status, &two), 2).unwrap();
        assert_eq!(answers[0].as_ref().unwrap().expose(), [0; 3]);
        assert!(matches!(answers[1], Err(ServiceError::Authentication)));
    }
    assert_eq!(shown(answer::decrypted(&of(403, &two), 2)), "denied");
    for (status, expected) in [(200, "broken"), (400, "broken"), (500, "unavailable")] {
        let other = batch(r#"{"error":"another text"}"#);
        let decoded = answer::decrypted(&of(status, &other), 1).unwrap().remove(0);
        assert_eq!(shown(decoded), expected);
    }
    for item in
        [r#"{}"#, r#"{"plaintext":"AAA"}"#, r#"{"plaintext":"A=AA"}"#, r#"{"plaintext":"AA A"}"#]
    {
        let body = batch(item);
        let decoded = answer::decrypted(&of(200, &body), 1).unwrap().remove(0);
        assert_eq!(shown(decoded), "broken", "{item}");
    }
}

#[test]
fn description_that_contradicts_itself_is_broken() {
    let key = answer::key(&of(200, KEY)).unwrap();
    assert_eq!((key.latest.number(), key.min_decryption.number()), (3, 2));
    assert_eq!(key.created[&KeyVersion::new(3).unwrap()], 1_796_078_337);
    for (from, to) in [
        (r#""latest_version":3"#, r#""latest_version":0"#),
        (r#""latest_version":3"#, r#""latest_version":1"#),
        (r#""latest_version":3"#, r#""latest_version":4"#),
        (r#""latest_version":3"#, r#""latest_version":100001"#),
        (r#""latest_version":3"#, r#""latest_version":-3"#),
        (r#""latest_version":3"#, r#""latest_version":4294967296"#),
        (r#""min_decryption_version":2"#, r#""min_decryption_version":1"#),
        (r#""min_decryption_version":2"#, r#""min_decryption_version":4"#),
        (r#""min_available_version":0"#, r#""min_available_version":3"#),
        (r#""2":1796078336"#, r#""02":1796078336"#),
        (r#""2":1796078336,"#, ""),
        (r#""derived":true"#, r#""derived":"true""#),
        (r#""derived":true,"#, ""),
        (r#""name":"k","#, ""),
        (r#""type":"aes256-gcm96""#, r#""type":null"#),
    ] {
        assert!(KEY.contains(from), "{from}");
        let changed = KEY.replacen(from, to, 1);
        assert_eq!(shown(answer::key(&of(200, &changed))), "broken", "{to}");
    }
    // An older Vault has no soft deletion.
    let older = KEY.replacen(r#""soft_deleted":false,"#, "", 1);
    assert!(!answer::key(&of(200, &older)).unwrap().soft_deleted);
}

#[test]
fn texts_of_the_service_are_bounded_and_printable() {
    let text = format!(r#"{{"errors":["a\n\u001b[31m b {}","c"]}}"#, "word ".repeat(200));
    let Err(error) = answer::done(&of(500, &text)) else { panic!("it is an error") };
    let shown = error.to_string();
    assert!(shown.starts_with("the service answers 500: a [31m b word"), "{shown}");
    assert!(shown.len() < 400 && !shown.chars().any(char::is_control), "{shown}");
}
