//! ④⑤ One attempt: its values, its parts, and what the signer makes of them.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderValue};
use rust_proxy_stream::UpstreamError;
use rust_proxy_stream::dialect::openai_chat::Request;
use rust_proxy_stream::json::{self, Pointer};
use rust_proxy_stream::upstream::SignRequest;

use super::options::{
    Argument, Content, DevApiOptions, Place, RequestOptions, Results, SettableHeader, Source, TimeUnit,
};

/// The longest result of a signer, in bytes: what servers take for one header. Signatures have a tenth of it.
const RESULT_MAX: usize = 8 << 10;

/// What is new in each attempt, or differs between clients.
#[derive(Debug)]
pub(super) struct Values {
    nonce: String,
    timestamp: String,
    device_id: Option<String>,
    os_type: Option<String>,
    sid: Option<String>,
    user_text: String,
}

impl Values {
    /// # Errors
    /// [`UpstreamError::Request`], where a header is missing that only the client can send.
    pub(super) fn new(
        options: &DevApiOptions,
        request: &Request,
        headers: &[(String, String)],
        nonce: String,
        millis: u128,
    ) -> Result<Self, UpstreamError> {
        let value =
            |source: &Option<Source>| source.as_ref().map(|source| resolve(source, headers)).transpose();
        let timestamp = match options.request.timestamp_unit {
            TimeUnit::Seconds => millis / 1000,
            TimeUnit::Milliseconds => millis,
        };
        Ok(Self {
            nonce,
            timestamp: timestamp.to_string(),
            device_id: value(&options.device_id)?,
            os_type: value(&options.os_type)?,
            sid: value(&options.sid)?,
            user_text: request.last_user_text().unwrap_or_default(),
        })
    }
}

fn resolve(source: &Source, headers: &[(String, String)]) -> Result<String, UpstreamError> {
    let sent = |name: &String| {
        let mut values = headers.iter().filter(|(sent, value)| sent == name && !value.is_empty());
        values.next().map(|(_, value)| value.as_str())
    };
    let found = source.headers.iter().find_map(sent);
    let found = found.or_else(|| source.otherwise.as_ref().map(|value| value.expose()));
    found.map(str::to_owned).ok_or_else(|| {
        UpstreamError::Request(format!("the header `{}` is missing", source.headers.join("` or `")))
    })
}

/// A request that is being put together.
#[derive(Debug)]
pub(super) struct Draft {
    /// Without the query.
    base: String,
    query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Draft {
    /// Everything but the signature.
    ///
    /// # Errors
    /// [`UpstreamError::Request`], where a value does not go where the settings say.
    pub(super) fn new(
        options: &DevApiOptions,
        values: &Values,
        request: &Request,
    ) -> Result<Self, UpstreamError> {
        let shape = &options.request;
        let base = format!("{}{}", options.endpoint.trim_end_matches('/'), shape.path);
        let body = body(shape, values, request, &options.model)?;
        let mut draft = Self { base, query: Vec::new(), headers: HeaderMap::new(), body };
        for (place, constant) in &shape.constants {
            match place {
                Place::Body(pointer) => draft.body = set(pointer, &draft.body, constant.expose())?,
                _ => draft.put(place, constant.expose()).map_err(UpstreamError::Request)?,
            }
        }
        let texts = [
            (&shape.nonce, Some(&values.nonce)),
            (&shape.device_id, values.device_id.as_ref()),
            (&shape.os_type, values.os_type.as_ref()),
            (&shape.sid, values.sid.as_ref()),
        ];
        for (place, value) in texts {
            if let (Some(place), Some(value)) = (place, value) {
                draft.put(place, value).map_err(UpstreamError::Request)?;
            }
        }
        match &shape.timestamp {
            Some(Place::Body(pointer)) if !shape.timestamp_is_text => {
                draft.body = set(pointer, &draft.body, &values.timestamp)?;
            }
            Some(place) => draft.put(place, &values.timestamp).map_err(UpstreamError::Request)?,
            None => {}
        }
        Ok(draft)
    }

    /// Puts a text where it belongs.
    ///
    /// # Errors
    /// The reason, without the text.
    fn put(&mut self, place: &Place, text: &str) -> Result<(), String> {
        match place {
            Place::Header(SettableHeader(name)) => {
                // Stricter than the type, which takes bytes that some servers read as other characters.
                let value =
                    if text.bytes().all(is_visible) { HeaderValue::from_str(text).ok() } else { None };
                let mut value =
                    value.ok_or_else(|| format!("{place} cannot hold the value: it is not visible ASCII"))?;
                value.set_sensitive(true);
                self.headers.insert(name.clone(), value);
            }
            Place::Query(name) => self.query.push((name.clone(), text.to_owned())),
            Place::Body(pointer) => {
                self.body = pointer.set(&self.body, &json::quote(text)).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The URL with its query.
    pub(super) fn url(&self) -> String {
        let mut url = self.base.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            percent_encode(name, &mut url);
            url.push('=');
            percent_encode(value, &mut url);
        }
        url
    }

    /// What the signer sees: the arguments that are listed, and no other value of this request.
    ///
    /// # Errors
    /// [`UpstreamError::Request`], where there is no text to sign.
    pub(super) fn sign_request(
        &self,
        options: &DevApiOptions,
        values: &Values,
        arguments: &[Argument],
    ) -> Result<SignRequest, UpstreamError> {
        let content = match &options.request.content {
            Content::Body => self.body.clone(),
            Content::UserText => values.user_text.clone(),
            Content::At(pointer) => pointer
                .find_text(&self.body)
                .ok_or_else(|| {
                    UpstreamError::Request(format!("the body has no text at `{pointer}` to sign"))
                })?
                .into_owned(),
        };
        let url = if arguments.contains(&Argument::Url) { self.url() } else { self.base.clone() };
        let method = "POST".to_owned();
        let value = |argument: &Argument| {
            let value = match argument {
                Argument::Nonce => Some(&values.nonce),
                Argument::Timestamp => Some(&values.timestamp),
                Argument::DeviceId => values.device_id.as_ref(),
                Argument::OsType => values.os_type.as_ref(),
                Argument::Sid => values.sid.as_ref(),
                Argument::Content => Some(&content),
                Argument::Method => Some(&method),
                Argument::Url => Some(&url),
                Argument::Model => Some(&options.model),
            };
            Some((argument.name().to_owned(), value?.clone()))
        };
        let parameters = arguments.iter().filter_map(value).collect();
        Ok(SignRequest {
            method,
            url,
            headers: self.shown_headers(&options.request, arguments),
            parameters,
            content,
        })
    }

    /// The headers that hold nothing but arguments which the signer gets anyway.
    fn shown_headers(&self, shape: &RequestOptions, arguments: &[Argument]) -> Vec<(String, String)> {
        let places = [
            (&shape.nonce, Argument::Nonce),
            (&shape.timestamp, Argument::Timestamp),
            (&shape.device_id, Argument::DeviceId),
            (&shape.os_type, Argument::OsType),
            (&shape.sid, Argument::Sid),
        ];
        let shown = places.into_iter().filter(|(_, argument)| arguments.contains(argument));
        let header = |(place, _): (&Option<Place>, Argument)| {
            let Some(Place::Header(SettableHeader(name))) = place else { return None };
            let value = self.headers.get(name)?.to_str().ok()?;
            Some((name.as_str().to_owned(), value.to_owned()))
        };
        shown.filter_map(header).collect()
    }

    /// Sets what the signer gave. All of it is untrusted.
    ///
    /// # Errors
    /// The reason: a name that is not listed, twice or missing, or a value that does not fit its place.
    pub(super) fn put_results(
        &mut self,
        results: &Results,
        given: Vec<(String, String)>,
    ) -> Result<(), String> {
        if let Some((name, _)) = given.iter().find(|(_, value)| value.is_empty() || value.len() > RESULT_MAX)
        {
            return Err(format!("its result {} is empty or longer than {RESULT_MAX} bytes", shown(name)));
        }
        match results {
            Results::One(place) => match <[_; 1]>::try_from(given) {
                Ok([(_, value)]) => self.put(place, &value),
                Err(given) => {
                    Err(format!("it gave {} results in place of one; list them in `results`", given.len()))
                }
            },
            Results::Named(places) => {
                let mut by_name = BTreeMap::new();
                for (name, value) in given {
                    if !places.contains_key(&name) {
                        return Err(format!("it gave {}, which `results` does not list", shown(&name)));
                    }
                    if by_name.insert(name.clone(), value).is_some() {
                        return Err(format!("it gave {} twice", shown(&name)));
                    }
                }
                for (name, place) in places {
                    let value =
                        by_name.get(name).ok_or_else(|| format!("it did not give {}", shown(name)))?;
                    self.put(place, value)?;
                }
                Ok(())
            }
        }
    }
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// A name that a signer gave, for the log.
fn shown(name: &str) -> String {
    let short: String = name.chars().take(64).collect();
    format!("{short:?}")
}

/// The body: the client's, with its known fields where the settings have them.
fn body(
    shape: &RequestOptions,
    values: &Values,
    request: &Request,
    model: &str,
) -> Result<String, UpstreamError> {
    let body = request.to_body(model);
    let body = String::from_utf8_lossy(&body);
    let fields = [("model", &shape.model), ("messages", &shape.messages), ("stream", &shape.stream)];
    let stays = |(name, place): &(&str, &Option<Pointer>)| {
        place.as_ref().is_some_and(|place| place.member() == Some(*name))
    };
    let mut made = if shape.keep_others && fields.iter().all(stays) {
        body.into_owned()
    } else {
        let mut made = "{}".to_owned();
        let members: BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(&body).map_err(|error| UpstreamError::Request(error.to_string()))?;
        if shape.keep_others {
            let others = members.iter().filter(|(name, _)| !fields.iter().any(|(known, _)| known == name));
            let others = others.map(|(name, value)| format!("{}:{}", json::quote(name), value.get()));
            made = format!("{{{}}}", others.collect::<Vec<_>>().join(","));
        }
        for (name, place) in fields {
            let value = members.get(name).map_or("null", |value| value.get());
            let value = if name == "stream" && value == "null" { "false" } else { value };
            if let Some(place) = place {
                made = set(place, &made, value)?;
            }
        }
        made
    };
    if let Some(place) = &shape.user_text {
        made = set(place, &made, &json::quote(&values.user_text))?;
    }
    Ok(made)
}

fn set(place: &Pointer, body: &str, value: &str) -> Result<String, UpstreamError> {
    place.set(body, value).map_err(|error| UpstreamError::Request(error.to_string()))
}

/// All but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}
