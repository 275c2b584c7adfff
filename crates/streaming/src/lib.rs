//! Streams over upgraded connections: SPDY/3.1 and the WebSocket channel protocols.
