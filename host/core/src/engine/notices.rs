//! What is not wrong but probably not meant, as far as the plugins and the store tell.

use rust_proxy_wasm::{Component, FILES, HTTP, KV};

use super::sandbox::Plugins;
use crate::config::{Config, Granted, Notice, Place, Plugin};
use crate::kv::Stores;

/// Those of the configuration, the grants that their plugins do not use, and, at a `start`, a store that is not there.
pub(super) async fn notices(config: &Config, plugins: &Plugins, stores: &Stores, start: bool) -> Vec<Notice> {
    let mut notices = config.notices.clone();
    for (name, plugin) in &config.plugins {
        if let (Some(granted), Some(loaded)) = (&plugin.grant, plugins.get(name)) {
            notices.extend(unused(granted, &loaded.it));
            notices.extend(impatient(plugin, granted, config));
        }
    }
    if start && plugins.values().any(|loaded| loaded.it.imports().uses(KV)) {
        notices.extend(away(config, stores).await);
    }
    notices
}

fn unused(granted: &Granted, component: &Component) -> Vec<Notice> {
    let places: [(&str, Option<&Place>); 3] = [
        (HTTP, granted.http.as_ref().map(|it| &it.place)),
        (FILES, granted.directories.as_ref().map(|it| &it.place)),
        (KV, granted.kv.as_ref().map(|it| &it.place)),
    ];
    let unused = places.into_iter().filter(|(import, _)| !component.imports().uses(import));
    let notice = |(import, place): (&str, Option<&Place>)| {
        let message = format!("the plugin does not import {import}, so this does nothing");
        Some(Notice { place: place?.clone(), message })
    };
    unused.filter_map(notice).collect()
}

/// A plugin that is ended before it would be told that the store is away.
fn impatient(plugin: &Plugin, granted: &Granted, config: &Config) -> Option<Notice> {
    let kv = granted.kv.as_ref().filter(|_| config.kv.redis.is_some())?;
    let (wall, timeout) = (plugin.limits.wall, config.kv.timeout);
    let message = format!(
        "where Redis is down the plugin is ended by its `wall` limit ({wall:?}) before it is told; \
         set kv.timeout ({timeout:?}) below it"
    );
    (wall <= timeout).then(|| Notice { place: kv.place.clone(), message })
}

async fn away(config: &Config, stores: &Stores) -> Option<Notice> {
    let (redis, place) = (stores.redis.as_ref()?, config.kv.place.clone()?);
    let error = redis.ping().await.err()?;
    let address = redis.address();
    let message = format!("Redis at {address}: {error}; plugins are told `unavailable` until it is there");
    Some(Notice { place, message })
}
