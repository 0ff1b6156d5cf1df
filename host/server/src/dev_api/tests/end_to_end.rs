//! The backend that signs and the server that verifies, over sockets, with a native signer.

use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use rust_proxy_stream::chain::Pipeline;
use rust_proxy_stream::dialect::Dialect;
use rust_proxy_stream::exchange::{self, End, Incoming, Reply, Route, Routes, StreamEvent};
use rust_proxy_stream::stage::StageError;
use rust_proxy_stream::upstream::{SignRequest, Signer};
use rust_proxy_stream::{ExchangeError, UpstreamError};
use rust_proxy_upstream::dev_api::{
    Argument, DevApiOptions, Hidden, RequestOptions, ResponseOptions, Results, Signing, Source,
};
use rust_proxy_upstream::{Client, DevApi as Backend, Provider, Router as Providers, Timeouts};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

/// Signs as `signer/` does, and keeps what it was asked for.
#[derive(Debug, Default)]
struct Native {
    key: &'static str,
    seen: Mutex<Vec<SignRequest>>,
}

#[async_trait]
impl Signer for Native {
    async fn sign(&self, request: &SignRequest) -> Result<Vec<(String, String)>, StageError> {
        self.seen.lock().expect("no panic").push(request.clone());
        let value = |name| {
            request.parameters.iter().find(|(known, _)| known == name).expect("an argument").1.as_str()
        };
        let sign =
            verify::sign(self.key, value("nonce"), value("timestamp"), value("device_id"), &request.content);
        Ok(vec![("result".to_owned(), sign)])
    }
}

/// A server and a gateway's model in front of it.
struct Scene {
    providers: Arc<Providers>,
    signer: Arc<Native>,
    served: JoinHandle<()>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Routes for Scene {
    fn route(&self, model: &str, _: exchange::Asking<'_>) -> Option<Route> {
        let route = || Route { pipeline: Arc::new(Pipeline::default()), backend: self.providers.clone() };
        (model == "ours").then(route)
    }

    fn chat_model(&self) -> Option<&str> {
        Some("ours")
    }
}

async fn serve(answers: Answers) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = Settings { delay: Duration::ZERO, key: "key".to_owned(), answers };
    let limits = crate::serve::Limits {
        connections_max: 10,
        head_within: crate::serve::HEAD_WITHIN,
        grace: Duration::ZERO,
    };
    let server = crate::serve::serve(
        listener,
        crate::serve::Live::new(router(settings)),
        limits,
        std::future::pending(),
    );
    (address, tokio::spawn(server))
}

impl Scene {
    async fn new(answers: Answers, key: &'static str) -> Self {
        let (address, served) = serve(answers).await;
        let signer = Arc::new(Native { key, seen: Mutex::default() });
        let source = |value| Some(Source { headers: Vec::new(), otherwise: Some(Hidden::new(value)) });
        let arguments = vec![Argument::Nonce, Argument::Timestamp, Argument::DeviceId, Argument::Content];
        let results =
            Results::One(rust_proxy_upstream::dev_api::Place::Header("sign".parse().expect("a header")));
        let signing = Signing { name: "native".to_owned(), signer: signer.clone(), arguments, results };
        let device =
            Source { headers: vec!["x-device-id".to_owned()], otherwise: Some(Hidden::new("device-1")) };
        let options = DevApiOptions {
            name: "dev".to_owned(),
            endpoint: format!("http://{address}/"),
            model: "theirs".to_owned(),
            device_id: Some(device),
            os_type: source("3"),
            sid: source("session-1"),
            signing: Some(signing),
            request: RequestOptions::default(),
            response: ResponseOptions::default(),
        };
        let limit = Duration::from_secs(30);
        let timeouts = Timeouts { connect: limit, first_byte: limit, idle: limit, total: limit };
        let backend = Backend::new(options, Client::new(timeouts).expect("a client"));
        Self {
            providers: Arc::new(Providers::new(vec![(Provider::DevApi(backend), Arc::default())])),
            signer,
            served,
        }
    }

    async fn ask(
        &self,
        dialect: Dialect,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Result<Reply, ExchangeError> {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let body = body.to_string().into();
        exchange::run(
            self,
            Incoming { request_id: "r1".to_owned(), dialect, body, headers, ..Incoming::default() },
        )
        .await
    }
}

/// The text of a stream that is complete.
async fn streamed_text(reply: Reply) -> String {
    let Reply::Stream(mut stream) = reply else { panic!("a stream") };
    let (mut text, mut end) = (String::new(), None);
    while let Some(event) = stream.next().await {
        match event {
            StreamEvent::Frame(frame) => {
                let data = frame.strip_prefix(b"data: ").expect("data");
                let chunk: Value = serde_json::from_slice(data).expect("JSON");
                text.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            }
            StreamEvent::End(how) => end = Some(how),
        }
    }
    assert_eq!(end, Some(End::Complete));
    text
}

#[tokio::test]
async fn signed_requests_are_answered_in_every_form() {
    for answers in [Answers::Own, Answers::Openai] {
        let scene = Scene::new(answers, "key").await;
        let request = json!({ "model": "ours", "messages": conversation(), "stream": true });
        let reply = scene.ask(Dialect::OpenAiChat, request, &[]).await.expect("an answer");
        assert_eq!(streamed_text(reply).await, ANSWER);
        let request = json!({ "model": "ours", "messages": conversation() });
        let Ok(Reply::Whole(body)) = scene.ask(Dialect::OpenAiChat, request, &[]).await else {
            panic!("a body")
        };
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["choices"][0]["message"]["content"], ANSWER);
        assert!(body["usage"]["prompt_tokens"].is_number());
    }
}

#[tokio::test]
async fn each_exchange_has_its_own_nonce_and_may_have_its_own_device() {
    let scene = Scene::new(Answers::Own, "key").await;
    for headers in [&[][..], &[("x-device-id", "theirs")]] {
        let reply = scene.ask(Dialect::Chat, json!({ "message": "a" }), headers).await.expect("an answer");
        assert_eq!(streamed_text(reply).await, "You said: \"a\". Banana bread is classified.");
    }
    let seen = scene.signer.seen.lock().expect("no panic");
    let value = |at: usize, name| {
        seen[at]
            .parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .expect("a value")
    };
    assert_ne!(value(0, "nonce"), value(1, "nonce"));
    assert_eq!((value(0, "device_id").as_str(), value(1, "device_id").as_str()), ("device-1", "theirs"));
    assert_eq!(
        seen[0].content,
        r#"{"model":"theirs","messages":[{"role":"user","content":"a"}],"stream":true}"#
    );
}

#[tokio::test]
async fn another_key_is_refused_and_the_servers_reason_is_kept_for_the_log() {
    let scene = Scene::new(Answers::Own, "another key").await;
    let error = scene
        .ask(Dialect::Chat, json!({ "message": "a", "stream": false }), &[])
        .await
        .expect_err("is refused");
    let ExchangeError::Upstream(UpstreamError::Status { status: 401, message, .. }) = error else {
        panic!("{error}")
    };
    assert!(message.starts_with("the signature is not that of this request"), "{message}");
}
