use std::collections::BTreeMap;

use async_trait::async_trait;
use rust_proxy_stream::dialect::openai_chat::Request;
use rust_proxy_stream::stage::{Fault, FaultKind};
use rust_proxy_stream::upstream::{SignRequest, Signer};

use super::*;
use crate::egress::Timeouts;

mod answers;
mod requests;

/// A signer that gives this, or fails so.
#[derive(Debug, Clone)]
struct Gives(Result<Vec<(String, String)>, StageError>);

impl Gives {
    fn these(results: &[(&str, &str)]) -> Self {
        Self(Ok(results.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()))
    }
}

#[async_trait]
impl Signer for Gives {
    async fn sign(&self, _: &SignRequest) -> Result<Vec<(String, String)>, StageError> {
        self.0.clone()
    }
}

/// A signer whose result is what it was given.
#[derive(Debug)]
struct Tells;

#[async_trait]
impl Signer for Tells {
    async fn sign(&self, request: &SignRequest) -> Result<Vec<(String, String)>, StageError> {
        let pairs = |pairs: &[(String, String)]| {
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let SignRequest { method, url, headers, parameters, content } = request;
        let told = format!("{method} {url} | {} | {} | {content}", pairs(headers), pairs(parameters));
        Ok(vec![("result".to_owned(), told)])
    }
}

fn source(value: &str) -> Option<Source> {
    Some(Source { headers: Vec::new(), otherwise: Some(Hidden::new(value)) })
}

fn header(name: &str) -> Place {
    Place::Header(name.parse().expect("a header"))
}

fn body(pointer: &str) -> Place {
    Place::Body(pointer.parse().expect("a pointer"))
}

fn options() -> DevApiOptions {
    DevApiOptions {
        name: "dev".to_owned(),
        endpoint: "http://127.0.0.1:1/".to_owned(),
        model: "theirs".to_owned(),
        device_id: source("device-1"),
        os_type: source("3"),
        sid: source("session-1"),
        signing: None,
        request: RequestOptions::default(),
        response: ResponseOptions::default(),
    }
}

fn signed_by(signer: impl Signer + 'static, arguments: &[Argument], results: Results) -> DevApiOptions {
    let (signer, arguments) = (Arc::new(signer), arguments.to_vec());
    DevApiOptions {
        signing: Some(Signing { name: "sig".to_owned(), signer, arguments, results }),
        ..options()
    }
}

fn provider(options: DevApiOptions) -> DevApi {
    let second = std::time::Duration::from_secs(1);
    let timeouts = Timeouts { connect: second, first_byte: second, idle: second, total: second };
    DevApi::new(options, Client::new(timeouts).expect("a client"))
}

const REQUEST: &str = r#"{"model":"ours", "messages":[{"role":"user","content":"first"},{"role":"assistant","content":"a"},{"role":"user","content":[{"type":"text","text":"\u4f60"},{"type":"text","text":"b"}]}],"temperature":1.0}"#;

fn asked(text: &'static str) -> UpstreamRequest {
    let request = Request::parse(&Bytes::from_static(text.as_bytes())).expect("a request");
    UpstreamRequest { request_id: "r1".to_owned(), request, headers: Vec::new() }
}
