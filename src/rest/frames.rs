//! Pictures of infrared cameras, as numbers and in colours.

use axum::extract::State;

use super::{
    answers::{WhenAsking, WhenSeen},
    etag::{Tagged, TaggedPng},
    paging::Nothing,
    problem::{Problem, Query},
    services::Named,
};
use crate::{
    app::App,
    frames::{self, Frame, Pixel},
    model::{Seq, Timestamp},
};

/// The last picture of a camera, as numbers.
///
/// Rows of temperatures in degrees Celsius, from the top. A picture is complete when the next one begins or nothing more
/// came for 2 s. A row that did not arrive is null.
#[utoipa::path(get, path = "/api/v1/services/{firmware}/{service}/frame.json", tag = "services", operation_id = "frame",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "camera")),
    responses((status = 200, description = "The last complete picture", body = Frame, example = json!(example())), WhenSeen, WhenAsking))]
pub async fn numbers(
    State(app): State<App>,
    Named(name): Named,
    Query(Nothing {}): Query<Nothing>,
) -> Result<Tagged<Frame>, Problem> {
    Ok(Tagged(frames::last(&app.store, &app.registry, &name).await?))
}

/// The last picture of a camera, in colours.
///
/// A PNG in false colours, light where it is hot: each pixel is a square of 16 by 16, what did not arrive is hatched, and
/// a scale to the right says which temperatures the colours stand for.
#[utoipa::path(get, path = "/api/v1/services/{firmware}/{service}/frame.png", tag = "services", operation_id = "frame_picture",
    params(
        ("firmware" = String, Path, description = "The first level of its topics", example = "board1"),
        ("service" = String, Path, description = "The second level of its topics", example = "camera")),
    responses((status = 200, description = "The last complete picture", body = Vec<u8>, content_type = "image/png"), WhenSeen, WhenAsking))]
pub async fn picture(
    State(app): State<App>,
    Named(name): Named,
    Query(Nothing {}): Query<Nothing>,
) -> Result<TaggedPng, Problem> {
    let frame = frames::last(&app.store, &app.registry, &name).await?;
    Ok(TaggedPng(frames::png(&frame)?))
}

/// A hand's breadth of warmth in a room.
fn example() -> Frame {
    let warm = |row: i32, column: i32| {
        let distance = f64::from((row - 14).pow(2) + (column - 9).pow(2));
        ((21.0 + 100.0 / (8.0 + distance)) * 10.0).round() / 10.0
    };
    let sent = |row: i32| (row != 5).then(|| (0..24).map(|column| warm(row, column)).collect());
    Frame {
        firmware: "board1".to_owned(),
        service: "camera".to_owned(),
        first_seq: Seq(4801),
        seq: Seq(4836),
        // 2026-11-21T20:15:00.250Z
        at: Timestamp(1_795_292_100_250_000),
        columns: 24,
        rows: (0..36).map(sent).collect(),
        min: warm(35, 23),
        max: warm(14, 9),
        hottest: Pixel { row: 14, column: 9 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_frame() {
        let frame = example();
        let pixels = || frame.rows.iter().flatten().flatten().copied();
        assert_eq!(frame.min, pixels().fold(f64::INFINITY, f64::min));
        assert_eq!(frame.max, pixels().fold(f64::NEG_INFINITY, f64::max));
        assert_eq!(frame.rows[14].as_ref().unwrap()[9], frame.max);
    }
}
