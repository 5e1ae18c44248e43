//! Pictures of infrared cameras, from the rows that they send to what people see.

use std::{collections::BTreeSet, ops::Range};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    graphql,
    harness::{Client, House, until},
};

const CAMERA: &str = "/api/v1/services/board1/camera";
const FRAMES: &str = "firmware: \"board1\", service: \"camera\"";
/// Around the picture, and the side of a pixel, in dots.
const MARGIN: usize = 16;
const PIXEL: usize = 16;

/// A row of a room of `base` degrees that has something warm in it.
fn row(base: f64, number: u16, columns: u16) -> Value {
    let celsius =
        |column: u16| if (number, column) == (14, 9) { base + 20.0 } else { base + f64::from(number) / 8.0 };
    (0..columns).map(celsius).collect()
}

async fn send(camera: &mut Client, base: f64, numbers: impl IntoIterator<Item = u16>, columns: u16) {
    for number in numbers {
        camera.say(&format!("board1/camera/{number}"), row(base, number, columns).to_string()).await;
    }
}

/// A whole frame, as the DAQAstra document has them.
async fn send_frame(camera: &mut Client, base: f64) {
    send(camera, base, 0..36, 24).await;
}

/// The rows of a frame; those that were not sent are null.
fn rows(base: f64, height: u16, columns: u16, missing: Range<u16>) -> Value {
    let sent = |number| if missing.contains(&number) { Value::Null } else { row(base, number, columns) };
    (0..height).map(sent).collect()
}

/// The last frame, once it is one that begins with this temperature.
async fn last(house: &House, base: f64) -> Value {
    until(&format!("the last frame is of {base} °C"), async || {
        let (status, frame) = house.json(house.request(Method::GET, &format!("{CAMERA}/frame.json"))).await;
        if status == StatusCode::OK && frame["min"] == base { Ok(frame) } else { Err(frame) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_is_told_as_numbers_when_nothing_more_comes() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    send_frame(&mut camera, 20.0).await;
    let mut frame = last(&house, 20.0).await;
    assert!(frame["first_seq"].as_i64() < frame["seq"].as_i64(), "{frame}");
    assert!(frame["at"].is_string(), "{frame}");
    for key in ["first_seq", "seq", "at"] {
        frame.as_object_mut().unwrap().remove(key);
    }
    let expected = json!({
        "firmware": "board1",
        "service": "camera",
        "columns": 24,
        "rows": rows(20.0, 36, 24, 0..0),
        "min": 20.0,
        "max": 40.0,
        "hottest": { "row": 14, "column": 9 },
    });
    assert_eq!(frame, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_being_sent_is_not_told_yet() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    let mut base = 20.0;
    // A machine that was busy for two seconds in between closes the frame: then once more.
    until("the whole frame is told while the next one is sent", async || {
        base += 1.0;
        send_frame(&mut camera, base).await;
        send(&mut camera, base + 0.5, 0..3, 24).await;
        let frame = house.get(&format!("{CAMERA}/frame.json")).await;
        if frame["rows"] == rows(base, 36, 24, 0..0) { Ok(()) } else { Err(frame) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_did_not_come_are_null_and_long_rows_are_welcome() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    send(&mut camera, 20.0, (0..5).chain(8..36), 24).await;
    assert_eq!(last(&house, 20.0).await["rows"], rows(20.0, 36, 24, 5..8));

    send(&mut camera, 21.0, 0..24, 32).await;
    let frame = last(&house, 21.0).await;
    assert_eq!((&frame["columns"], &frame["rows"]), (&json!(32), &rows(21.0, 24, 32, 0..0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_camera_says_beside_its_rows_does_not_matter() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    for number in 0..36 {
        camera.say("board1/camera/max", r#"{"data": 40.0}"#).await;
        send(&mut camera, 20.0, number..number + 1, 24).await;
    }
    for _ in 0..200 {
        camera.say("board1/camera/max", r#"{"data": 41.0}"#).await;
    }
    assert_eq!(last(&house, 20.0).await["rows"], rows(20.0, 36, 24, 0..0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_frame_outlives_a_restart() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    send_frame(&mut camera, 20.0).await;
    let before = last(&house, 20.0).await;

    let house = house.restart().await;

    assert_eq!(house.get(&format!("{CAMERA}/frame.json")).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_camera_or_has_no_frame_yet_says_so() {
    let house = House::start().await;
    house.somebody("board1").await.say("board1/button", r#"{"data": true}"#).await;
    for (service, says) in [
        ("board1/button", "there is no frame of the service \"board1/button\""),
        ("board1/nobody", "there is no service \"board1/nobody\""),
    ] {
        for form in ["json", "png"] {
            let path = format!("/api/v1/services/{service}/frame.{form}");
            let (status, problem) = house.json(house.request(Method::GET, &path)).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert_eq!((&problem["code"], &problem["detail"]), (&json!("NOT_FOUND"), &json!(says)));
        }
    }
    let strange = house.request(Method::GET, &format!("{CAMERA}/frame.png?size=9"));
    assert_eq!(house.json(strange).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_shows_what_is_hot_and_what_is_missing() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    send(&mut camera, 20.0, (0..5).chain(8..36), 24).await;
    last(&house, 20.0).await;

    let picture = Picture::of(&house).await;

    assert_eq!(picture.height, 2 * MARGIN + 36 * PIXEL);
    assert!(picture.width > 2 * MARGIN + 24 * PIXEL, "there is a scale beside it");
    let (hottest, coldest) = (picture.pixel(14, 9), picture.pixel(0, 0));
    let scale = 2 * MARGIN + 24 * PIXEL + 1;
    assert_eq!(picture.dot(scale, MARGIN), hottest);
    assert_eq!(picture.dot(scale, MARGIN + 36 * PIXEL - 1), coldest);
    let light = |colour: [u8; 3]| colour.into_iter().map(u32::from).sum::<u32>();
    for (row, column) in [(0, 0), (14, 8), (35, 23)] {
        assert!(light(picture.pixel(row, column)) < light(hottest), "{row} {column}");
    }
    let hatched: BTreeSet<[u8; 3]> =
        (MARGIN..MARGIN + PIXEL).map(|x| picture.dot(x, MARGIN + 6 * PIXEL)).collect();
    assert_eq!(hatched.len(), 2, "stripes on a ground");
    let in_scale = |colour| (MARGIN..MARGIN + 36 * PIXEL).any(|y| picture.dot(scale, y) == colour);
    assert!(hatched.into_iter().all(|colour| !in_scale(colour)));
    assert!(in_scale(picture.pixel(20, 3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unchanged_frame_is_not_sent_again() {
    let house = House::start().await;
    let mut camera = house.somebody("board1").await;
    send_frame(&mut camera, 20.0).await;
    last(&house, 20.0).await;
    let mut tags = Vec::new();
    for (form, content) in [("json", "application/json"), ("png", "image/png")] {
        let get = || house.request(Method::GET, &format!("{CAMERA}/frame.{form}"));
        let answer = get().send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (StatusCode::OK, &content.parse().unwrap())
        );
        let tag = answer.headers()["etag"].clone();
        let again = get().header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(
            (again.status(), again.headers()["etag"].clone()),
            (StatusCode::NOT_MODIFIED, tag.clone())
        );
        tags.push((form, tag));
    }
    send_frame(&mut camera, 21.0).await;
    last(&house, 21.0).await;
    for (form, tag) in tags {
        let get = house.request(Method::GET, &format!("{CAMERA}/frame.{form}")).header("if-none-match", tag);
        // The picture shows the same, but for the numbers at the scale.
        assert_eq!(get.send().await.unwrap().status(), StatusCode::OK, "{form}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_told_as_the_next_begins_and_when_nothing_more_comes() {
    let house = graphql::House::start().await;
    let mut camera = house.0.somebody("board1").await;
    let fields = "seq firstSeq at firmware service columns rows min max hottest { row column }";
    let mut frames = house.subscribe(&format!("subscription {{ irFrames({FRAMES}) {{ {fields} }} }}")).await;
    frames.settled().await;

    send_frame(&mut camera, 20.0).await;
    send(&mut camera, 21.0, 0..36, 24).await;
    let first = frames.next().await["irFrames"].take();
    assert_eq!(first["rows"], rows(20.0, 36, 24, 0..0));
    assert_eq!((&first["max"], &first["hottest"]), (&json!(40.0), &json!({ "row": 14, "column": 9 })));
    // Nothing more is said.
    let second = frames.next().await["irFrames"].take();
    assert_eq!(second["rows"], rows(21.0, 36, 24, 0..0));

    send(&mut camera, 22.0, 3..4, 24).await;
    let third = frames.next().await["irFrames"].take();
    assert_eq!((&third["min"], &third["seq"]), (&json!(22.375), &third["firstSeq"]));
    frames.settled().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_later_begins_with_the_last_frame_or_resumes_where_it_was() {
    let house = graphql::House::start().await;
    let mut camera = house.0.somebody("board1").await;
    for base in [20.0, 21.0, 22.0] {
        send_frame(&mut camera, base).await;
    }
    last(&house.0, 22.0).await;
    let follow = async |house: &graphql::House, after: &str| {
        house
            .subscribe(&format!("subscription {{ irFrames({FRAMES}{after}) {{ seq firstSeq min rows }} }}"))
            .await
    };
    let mut late = follow(&house, "").await;
    assert_eq!(late.next().await["irFrames"]["min"], 22.0);

    let mut all = follow(&house, ", after: 0").await;
    let first = all.next().await["irFrames"].take();
    let second = all.next().await["irFrames"].take();
    assert_eq!((&first["min"], &second["min"]), (&json!(20.0), &json!(21.0)));
    let after = |seq: &Value| format!(", after: {seq}");

    let house = house.restart().await;

    let mut resumed = follow(&house, &after(&first["seq"])).await;
    assert_eq!(resumed.next().await["irFrames"], second);
    let mut from_the_middle = follow(&house, &after(&second["firstSeq"])).await;
    assert_eq!(from_the_middle.next().await["irFrames"], second);
    let mut camera = house.0.somebody("board1").await;
    send_frame(&mut camera, 23.0).await;
    send(&mut camera, 24.0, 0..1, 24).await;
    for stream in [&mut resumed, &mut from_the_middle] {
        for base in [22.0, 23.0, 24.0] {
            assert_eq!(stream.next().await["irFrames"]["min"], base);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_a_service_has_no_frames() {
    let house = graphql::House::start().await;
    let ask = |arguments: &str| format!("subscription {{ irFrames({arguments}) {{ seq }} }}");
    for (arguments, says) in [
        ("firmware: \"a/b\", service: \"c\"", "\"a/b/c\" names no service"),
        ("firmware: \"sensors\", service: \"esp32\"", "\"sensors/esp32\" names no service"),
        ("firmware: \"a\", service: \"c\", after: 99", "ends at"),
    ] {
        let refused = house.subscribe(&ask(arguments)).await.hear().await;
        let error = refused.pointer("/payload/0").or(refused.pointer("/payload/errors/0")).unwrap();
        assert_eq!(error["extensions"]["code"], "INVALID", "{refused}");
        assert!(error["message"].as_str().unwrap().contains(says), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_no_camera_has_no_frames() {
    let house = graphql::House::start().await;
    let mut rig = house.0.somebody("board1").await;
    // Its topics are numbered as those of a camera are.
    rig.say(
        "board1/power/ch1",
        r#"{ "enabled": true, "current": 1.0, "state": "Running", "power_good": true }"#,
    )
    .await;
    for form in ["json", "png"] {
        let path = format!("/api/v1/services/board1/power/frame.{form}");
        let (status, problem) = house.0.json(house.0.request(Method::GET, &path)).await;
        assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &json!("NOT_FOUND")), "{problem}");
    }
    let asked = "subscription { irFrames(firmware: \"board1\", service: \"power\") { seq } }";
    let refused = house.subscribe(asked).await.hear().await;
    let error = refused.pointer("/payload/0").or(refused.pointer("/payload/errors/0")).unwrap();
    assert_eq!(error["extensions"]["code"], "NOT_FOUND", "{refused}");
    assert_eq!(error["message"], "there is no frame of the service \"board1/power\"");
}

/// What is seen of a camera.
struct Picture {
    width: usize,
    height: usize,
    colours: Vec<u8>,
}

impl Picture {
    async fn of(house: &House) -> Picture {
        let answer = house.request(Method::GET, &format!("{CAMERA}/frame.png")).send().await.unwrap();
        let bytes = answer.bytes().await.unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut colours = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut colours).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        Picture { width: info.width as usize, height: info.height as usize, colours }
    }

    fn dot(&self, x: usize, y: usize) -> [u8; 3] {
        self.colours[(y * self.width + x) * 3..][..3].try_into().unwrap()
    }

    /// The colour of a pixel of the camera, which is that of all its dots.
    fn pixel(&self, row: usize, column: usize) -> [u8; 3] {
        let (left, top) = (MARGIN + column * PIXEL, MARGIN + row * PIXEL);
        let colour = self.dot(left, top);
        assert!((0..PIXEL * PIXEL).all(|n| self.dot(left + n % PIXEL, top + n / PIXEL) == colour));
        colour
    }
}
