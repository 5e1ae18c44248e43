//! The routes that scripts have used from the beginning, byte for byte.

use super::{device, raw};
use crate::harness::House;

async fn original(house: &House, method: &str, path: &str) -> (u16, String) {
    let (status, _, body) = raw(house, &format!("{method} {path} HTTP/1.1\r\nhost: localhost")).await;
    (status, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_routes_answer_byte_for_byte() {
    let house = House::start().await;
    for (path, status, body) in [
        ("/play/esp32", 200, "Sent 'play' command to esp32"),
        ("/stop/raspberry", 200, "Sent 'stop' command to raspberry"),
        ("/resume/esp32", 200, "Sent 'resume' command to esp32"),
        ("/pl%61y/esp%33%32", 200, "Sent 'play' command to esp32"),
        ("/play/esp32?now", 200, "Sent 'play' command to esp32"),
        ("/play/nobody", 400, "Unknown device"),
        ("/dance/nobody", 400, "Unknown device"),
        ("/dance/esp32", 400, "Unknown action"),
        ("/PLAY/esp32", 400, "Unknown action"),
        ("/play/esp32%2Fx", 400, "Unknown device"),
        ("/play/%FF", 400, "Unknown device"),
        ("/play/%20", 400, "Unknown device"),
    ] {
        assert_eq!(original(&house, "POST", path).await, (status, body.to_owned()), "{path}");
    }
    let (_, head, _) = raw(&house, "POST /play/esp32 HTTP/1.1\r\nhost: localhost").await;
    assert!(head.contains("content-type: text/plain") && head.contains("content-length: 28"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_routes_are_post_on_two_levels_that_nobody_else_has() {
    let house = House::start().await;
    for path in ["/play", "/play/", "/play/esp32/", "/play/esp32/x", "/api/esp32", "/%61pi/esp32"] {
        assert_eq!(original(&house, "POST", path).await.0, 404, "{path}");
    }
    for path in ["/graphql/esp32", "/mqtt/esp32", "/assets/esp32"] {
        assert_eq!(original(&house, "POST", path).await.0, 404, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(original(&house, method, "/play/esp32").await.0, 404, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_has_spoken_is_known_to_the_original_routes() {
    let house = House::start().await;
    let _device = device(&house, "pump", &[20.0]).await;
    assert_eq!(original(&house, "POST", "/play/pump").await, (200, "Sent 'play' command to pump".to_owned()));
}
