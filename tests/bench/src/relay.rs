//! The floor under any gateway: what it costs to take every byte and hand it on.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

pub(crate) async fn serve(target: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        let (mut client, _) = listener.accept().await?;
        tokio::spawn(async move {
            client.set_nodelay(true)?;
            let mut upstream = TcpStream::connect(target).await?;
            upstream.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut upstream).await
        });
    }
}
