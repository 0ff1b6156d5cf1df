//! `POST /chat`: a message or a conversation, and nothing else that has to be there.
//!
//! `{"message": "…"}` or `{"messages": […]}`; `model` and `stream` (true) have defaults. The request becomes one
//! of OpenAI's chat, with every other field kept as it came; the answer is OpenAI's too.

use bytes::Bytes;

use super::openai_chat::{invalid, parse_object};
use crate::error::ExchangeError;
use crate::json;

/// The request as one of OpenAI's chat, for `model` where it names none.
///
/// # Errors
/// [`ExchangeError::InvalidRequest`], naming the JSON path of the culprit. What this page does not know is left
/// to the reader of OpenAI's chat.
pub(crate) fn to_openai_chat(body: &Bytes, model: Option<&str>) -> Result<Bytes, ExchangeError> {
    let body = std::str::from_utf8(body).map_err(|_| invalid("", "the body is not UTF-8"))?;
    let fields = parse_object(body)?;
    let present = |name: &str| fields.get(name).filter(|value| value.get() != "null");
    let messages = match (present("message"), present("messages")) {
        (Some(message), None) if json::is_string(message) => {
            format!("[{{\"role\":\"user\",\"content\":{}}}]", message.get())
        }
        (Some(_), None) => {
            return Err(invalid("message", "must be a string; a conversation goes into `messages`"));
        }
        (None, Some(messages)) => messages.get().to_owned(),
        (Some(_), Some(_)) => return Err(invalid("message", "stands beside `messages`; send one of them")),
        (None, None) => {
            return Err(invalid("message", "missing; send a text, or a conversation in `messages`"));
        }
    };
    let model = match (present("model"), model) {
        (Some(model), _) => model.get().to_owned(),
        (None, Some(model)) => json::quote(model),
        (None, None) => {
            let fix = "missing, and the gateway has several models: name one of `GET /v1/models`";
            return Err(invalid("model", fix));
        }
    };
    let stream = present("stream").map_or("true", |stream| stream.get());
    let mut request = format!("{{\"model\":{model},\"messages\":{messages},\"stream\":{stream}");
    for (name, value) in &fields.0 {
        if !matches!(name.as_ref(), "model" | "message" | "messages" | "stream") {
            request.extend([",", &json::quote(name), ":", value.get()]);
        }
    }
    request.push('}');
    Ok(Bytes::from(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapt(body: &str) -> Result<String, ExchangeError> {
        let body = to_openai_chat(&Bytes::copy_from_slice(body.as_bytes()), Some("only"))?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn a_message_becomes_a_conversation() {
        for (body, expect) in [
            (
                r#"{"message":"\u4f60\ud83d\ude00"}"#,
                r#"{"model":"only","messages":[{"role":"user","content":"\u4f60\ud83d\ude00"}],"stream":true}"#,
            ),
            (
                r#"{"x" : 1.0,"messages": [{"role":"user", "content":"a"}],"stream":false,"model":"m","message":null}"#,
                r#"{"model":"m","messages":[{"role":"user", "content":"a"}],"stream":false,"x":1.0}"#,
            ),
            (
                r#"{"message":"a","stream":null,"model":null}"#,
                r#"{"model":"only","messages":[{"role":"user","content":"a"}],"stream":true}"#,
            ),
        ] {
            assert_eq!(adapt(body).unwrap(), expect);
        }
    }

    #[test]
    fn what_is_missing_or_stands_twice_is_named() {
        for (body, culprit) in [
            ("{}", "message"),
            (r#"{"message":1}"#, "message"),
            (r#"{"message":"a","messages":[]}"#, "message"),
            (r#"{"message":"a","message":"b"}"#, ""),
            ("[]", ""),
        ] {
            let ExchangeError::InvalidRequest { param, .. } = adapt(body).unwrap_err() else {
                panic!("{body}")
            };
            assert_eq!(param.unwrap_or_default(), culprit, "{body}");
        }
        let error = to_openai_chat(&Bytes::from_static(br#"{"message":"a"}"#), None).unwrap_err();
        assert!(error.to_string().starts_with("`model`: missing"), "{error}");
    }
}
