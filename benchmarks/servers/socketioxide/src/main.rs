//! Peer: socketioxide, Socket.IO in Rust, on hyper. Port as the argument.
//!
//! Settings, and why:
//! - one thread (tokio's `current_thread`), as every server here has one core: a pool of threads would only wait for it;
//! - `max_payload` is Socket.IO's own default, 1 MB: socketioxide's, 100 kB, is no limit that the others have;
//! - `max_buffer_size`: its default of 128 packets would drop what a burst has for a slow client, which no other server here does;
//! - built with link-time optimisation; no tracing; TCP_NODELAY, as the others set it;
//! - the feature `v4` has Engine.IO 3 for the one work that needs it; BENCH_PING_INTERVAL_MS changes the heartbeat for another.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::Value;
use socketioxide::SocketIo;
use socketioxide::extract::{AckSender, Data, SocketRef};
use tokio::net::TcpSocket;

/// Serializes to no arguments at all, as other servers acknowledge with nothing.
const NOTHING: [(); 0] = [];

#[derive(Deserialize)]
#[allow(dead_code)] // what is not used is checked all the same
struct Said {
    room: String,
    number: i64,
    tags: Vec<String>,
    text: String,
}

async fn on_connect(socket: SocketRef) {
    socket.on("echo", async |Data::<String>(value), acknowledge: AckSender| {
        acknowledge.send(&value).ok();
    });
    socket.on("binary", async |Data::<Bytes>(value), acknowledge: AckSender| {
        acknowledge.send(&value).ok();
    });
    socket.on("untyped", async |Data::<Value>(said), acknowledge: AckSender| {
        acknowledge.send(&said["text"]).ok();
    });
    socket.on("typed", async |Data::<Said>(said), acknowledge: AckSender| {
        acknowledge.send(&said.text).ok();
    });
    socket.on("join", async |socket: SocketRef, Data::<String>(room), acknowledge: AckSender| {
        socket.join(room);
        acknowledge.send(&NOTHING).ok();
    });
    socket.on("leave", async |socket: SocketRef, Data::<String>(room), acknowledge: AckSender| {
        socket.leave(room);
        acknowledge.send(&NOTHING).ok();
    });
    socket.on("broadcast", async |socket: SocketRef, Data::<(String, String, u32)>((room, payload, count))| {
        for index in 0..count {
            socket.within(room.clone()).emit("broadcast", &(index, &payload)).await.ok();
        }
    });
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).ok_or("the port is missing")?.parse::<u16>()?;
    let ping_interval = std::env::var("BENCH_PING_INTERVAL_MS").map_or(Ok(25_000), |text| text.parse())?;
    let (service, io) = SocketIo::builder()
        .ping_interval(Duration::from_millis(ping_interval))
        .max_payload(1_000_000)
        .max_buffer_size(10_000)
        .build_svc();
    io.ns("/", on_connect);

    let listening = TcpSocket::new_v4()?;
    listening.set_reuseaddr(true)?;
    listening.bind(([127, 0, 0, 1], port).into())?;
    let listener = listening.listen(2048)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = connection.await {
                // A client that goes in the middle of a request is no news.
                if !error.is_incomplete_message() {
                    eprintln!("{error}");
                }
            }
        });
    }
}
