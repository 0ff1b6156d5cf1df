//! What `check` shows of a configuration.

use std::fmt::Write;

use rust_proxy_core::config::{Config, Effect, Granted, Model, OnError, Plugin, Provider, Written};
use rust_proxy_core::{CacheCounts, Engine, FILES, HTTP, Imports, KV, PluginInfo, SignerInfo};

use crate::text::one_line;

/// Models with their pipelines and providers, plugins with what they say of themselves, and what is probably not
/// meant.
pub(super) fn of(config: &Config, engine: &Engine) -> String {
    let mut text = String::new();
    for (name, model) in &config.models {
        line(&mut text, format_args!("model {name}"));
        describe(&mut text, config, model);
    }
    for PluginInfo { name, file, description, imports, standing, .. } in &engine.plugins() {
        let Some(Plugin { config_shown, grant, on_error, .. }) = config.plugins.get(name) else { continue };
        line(&mut text, format_args!("plugin {name}"));
        line(&mut text, format_args!("  is        {}", one_line(description)));
        line(&mut text, format_args!("  file      {}", file.display()));
        line(&mut text, format_args!("  sha256    {standing}"));
        line(
            &mut text,
            format_args!("  imports   {}; without effect: {}", names(&imports.always), names(&imports.inert)),
        );
        for granted in grant.iter().flat_map(|granted| grants(granted, config, imports)) {
            line(&mut text, format_args!("  granted   {granted}"));
        }
        line(&mut text, format_args!("  config    {config_shown}"));
        line(&mut text, format_args!("  on_error  {}", policy(*on_error)));
    }
    for SignerInfo { name, file, standing, .. } in &engine.signers() {
        line(&mut text, format_args!("signer {name}"));
        line(&mut text, format_args!("  file      {}", file.display()));
        line(&mut text, format_args!("  sha256    {standing}"));
    }
    if let Some(CacheCounts { hits, misses, .. }) = engine.cache() {
        line(&mut text, format_args!("cache: {hits} entries were there, {misses} are new"));
    }
    for notice in engine.notices() {
        line(&mut text, format_args!("notice: {notice}"));
    }
    text
}

fn describe(text: &mut String, config: &Config, model: &Model) {
    // Its own pipeline, then those that rules choose.
    let mut names: Vec<&str> = model.pipeline.as_deref().into_iter().collect();
    if names.is_empty() {
        line(text, format_args!("  pipeline  none: no plugins run"));
    }
    let mut next = 0;
    while let Some(name) = names.get(next).copied() {
        next += 1;
        let Some(pipeline) = config.pipelines.get(name) else { continue };
        line(text, format_args!("  pipeline  {name}"));
        for (stage, links) in [("process", &pipeline.process), ("modify ", &pipeline.modify)] {
            if !links.is_empty() {
                line(text, format_args!("  {stage}   {}", links.join(" → ")));
            }
        }
        for rule in &pipeline.when {
            line(text, format_args!("  when      {rule}"));
            match &rule.effect {
                Effect::Use(Some(other)) if !names.contains(&other.as_str()) => names.push(other),
                _ => {}
            }
        }
    }
    for route in &model.routing {
        if let Some(provider) = model.providers.get(route) {
            let (model, base, credential) = match provider {
                Provider::OpenAi(it) => {
                    let key = if it.api_key.is_some() { "with a key" } else { "without a key" };
                    (&it.model_name, &it.api_base, key.to_owned())
                }
                Provider::DevApi(it) => {
                    let signer = it.signer.as_ref().map(|name| format!("signed by {name}"));
                    (&it.model_name, &it.endpoint, signer.unwrap_or_else(|| "unsigned".to_owned()))
                }
                _ => continue,
            };
            line(text, format_args!("  provider  {route}: {model} at {base}, {credential}"));
        }
    }
}

fn names(packages: &[String]) -> String {
    if packages.is_empty() { "nothing".to_owned() } else { packages.join(", ") }
}

/// A line for each grant, and whether it is used.
fn grants(granted: &Granted, config: &Config, imports: &Imports) -> Vec<String> {
    let used = |import| if imports.uses(import) { "" } else { " (not used)" };
    let mut lines = Vec::new();
    if let Some(Written { value: http, .. }) = &granted.http {
        let targets: Vec<String> = http.http.iter().map(ToString::to_string).collect();
        let private: Vec<String> = http.private.iter().map(ToString::to_string).collect();
        let private =
            if private.is_empty() { String::new() } else { format!("; private: {}", private.join(", ")) };
        lines.push(format!("HTTP to {}{private}{}", targets.join(", "), used(HTTP)));
    }
    for directory in granted.directories.iter().flat_map(|directories| &directories.value) {
        let access = if directory.write { "read and written" } else { "read only" };
        let (guest, host) = (&directory.guest, directory.host.display());
        lines.push(format!("directory {guest}, which is {host}, {access}{}", used(FILES)));
    }
    if let Some(Written { value: quota, .. }) = &granted.kv {
        let place = if config.kv.redis.is_some() { "Redis" } else { "memory" };
        lines.push(format!("kv in {place}: {} bytes in {} keys{}", quota.bytes, quota.keys, used(KV)));
    }
    lines
}

fn policy(on_error: OnError) -> &'static str {
    match on_error {
        OnError::FailClosed => "fail_closed",
        OnError::FailOpen => "fail_open",
        OnError::Skip => "skip",
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}
