//! The wire formats that clients and upstreams speak.

pub mod openai_chat;
