use super::*;

const NONCE: &str = "8c8e3f64-5f7c-4c58-9d6e-0d0a2f8f3f10";

fn signed<'a>(nonce: &'a str, timestamp: &'a str, device_id: &'a str, content: &'a str) -> Signed<'a> {
    Signed { nonce, timestamp, device_id, content }
}

/// The values are those that the Python of `signer/README.md` prints for the same arguments.
#[test]
fn signatures_are_those_of_another_implementation() {
    for (signed, expected) in [
        (
            signed(NONCE, "1700000000", "device-1", r#"{"model":"m"}"#),
            "cda7801b92d5ac298259308658f85cbd105e50fcfed4f57bd41c5d8f3fad3541",
        ),
        (signed("", "", "", ""), "c2fc64a2ef67a73b53ad738390087cbc0c56d9e2aa9da9a73533634731b99086"),
        (
            signed("n", "1", "gerät", "你好 🍌"),
            "b81606712facc4cf3701245bce1895616194e7b7ee7dcb4ca23af6daa3d82bac",
        ),
    ] {
        assert_eq!(sign(DEMONSTRATION_KEY, &signed), expected, "{signed:?}");
        assert!(verify(DEMONSTRATION_KEY, &signed, expected));
        assert!(!verify("another key", &signed, expected));
    }
}

#[test]
fn a_byte_that_moves_to_another_field_changes_the_signature() {
    let one = sign("key", &signed("a", "bc", "", "d"));
    assert_ne!(one, sign("key", &signed("ab", "c", "", "d")));
    assert_ne!(one, sign("key", &signed("a", "bc\n0:", "", "d")));
}

#[test]
fn what_is_no_signature_is_no_match() {
    let signed = signed("n", "1", "d", "c");
    let right = sign("key", &signed);
    assert!(verify("key", &signed, &right));
    for wrong in ["", "0", &right[1..], &format!("{right}0"), &format!("{right}00"), &right.replace('a', "g")]
    {
        assert!(!verify("key", &signed, wrong), "{wrong}");
    }
    assert!(!verify("key", &signed, &"é".repeat(32)));
}

/// RFC 4231, cases 1, 2 and 6 (a key that is longer than a block).
#[test]
fn hmac_is_that_of_the_standard() {
    for (key, text, expected) in [
        (vec![0x0b; 20], "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".to_vec(),
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            vec![0xaa; 131],
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ] {
        let mut bytes = [0; 32];
        unhex(expected, &mut bytes).unwrap();
        assert_eq!(hmac(&key, |hash| hash.update(text)), bytes);
    }
}
