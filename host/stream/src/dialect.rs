//! The wire formats that clients and upstreams speak.

mod chat;
pub mod openai_chat;

pub(crate) use chat::to_openai_chat;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI chat completions.
    #[default]
    OpenAiChat,
    /// `POST /chat`: answered like OpenAI chat.
    Chat,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::OpenAiChat, Self::Chat];

    /// The path of its requests.
    pub fn route(self) -> &'static str {
        match self {
            Self::OpenAiChat => "/v1/chat/completions",
            Self::Chat => "/chat",
        }
    }

    /// The name that plugins see.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::Chat => "chat",
        }
    }
}
