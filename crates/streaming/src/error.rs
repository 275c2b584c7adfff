//! What can go wrong with an upgrade or on the connection after it.

use http::StatusCode;

/// Why a request is not upgraded, or why its connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request does not ask for an upgrade that is known here.
    #[error("unable to upgrade: {0}")]
    NoUpgrade(String),
    /// Both sides know no common version.
    #[error("unable to upgrade: unable to negotiate protocol: client supports {client:?}, server accepts {server:?}")]
    NoCommonProtocol {
        /// What the client offered.
        client: Vec<String>,
        /// What is known here.
        server: Vec<String>,
    },
    /// The query is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// The peer broke the protocol or a limit.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer did not open its streams in time.
    #[error("timed out waiting for client to create streams")]
    Timeout,
    /// The peer has gone.
    #[error("the connection was closed")]
    Closed,
    /// The connection.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// The upgrade by the HTTP server.
    #[error("upgrade: {0}")]
    Upgrade(#[from] hyper::Error),
    /// The WebSocket connection.
    #[error("websocket: {0}")]
    WebSocket(#[from] Box<tokio_tungstenite::tungstenite::Error>),
}

impl Error {
    /// The status of the HTTP answer for an upgrade that was refused.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoCommonProtocol { .. } => StatusCode::FORBIDDEN,
            Self::NoUpgrade(_) | Self::BadRequest(_) | Self::Protocol(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}
