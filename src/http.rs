//! Joins the surfaces in one server.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::{app::App, error::Error};

pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|why| crate::broker::cannot_listen("--http", address, &why))
}

pub async fn serve(socket: TcpListener, app: App) {
    let stopping = app.stopping.clone();
    let router = axum::Router::new().with_state::<()>(app);
    let _ = axum::serve(socket, router).with_graceful_shutdown(stopping.cancelled_owned()).await;
}
