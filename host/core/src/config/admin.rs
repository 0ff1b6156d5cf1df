//! `[admin]`: the operator's own listener. There is none unless the table is there.

use std::net::SocketAddr;

use super::reader::Table;
use super::reference::SECRET_FIX;
use super::secret::Secret;
use super::server::KEY_MIN;

/// The operator's listener.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Admin {
    /// Its address, which is not that of the clients.
    pub listen: SocketAddr,
    /// What a request must send as `Authorization: Bearer`; at least 16 visible ASCII characters.
    pub token: Secret,
}

pub(super) fn read(root: &mut Table<'_>, clients: SocketAddr) -> Option<Admin> {
    root.get("admin")?.table(|t| {
        let listen = t.require("listen", "write listen = \"127.0.0.1:3001\"").and_then(|node| {
            let listen: SocketAddr =
                node.parse("an address", "write it like \"127.0.0.1:3001\"", |text| text.parse().ok())?;
            if listen == clients && listen.port() != 0 {
                return node
                    .problem("clients reach this address too", "choose another port than server.listen");
            }
            Some(listen)
        });
        let fix = "write token = \"env::NAME\" or \"path::FILE\"";
        let token = t.require("token", fix).and_then(|node| node.token(KEY_MIN, SECRET_FIX));
        Some(Admin { listen: listen?, token: token? })
    })
}
