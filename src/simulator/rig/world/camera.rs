//! An infrared camera that looks at something warm which moves.

use std::f64::consts::TAU;

use serde_json::{Value, json};

use super::{Chance, rounded};

const ROWS: usize = 36;
const COLUMNS: usize = 24;
/// How wide the spot is, in pixels, and how much warmer than the plate behind it, in degrees Celsius.
const SPREAD: f64 = 3.0;
const WARMER: f64 = 14.0;
/// What of the plate's warmth the camera sees beside the spot.
const SEES: f64 = 0.2;
/// From once around to the next, across and down, in seconds: so seldom the same that the path fills the picture.
const ACROSS: f64 = 47.0;
const DOWN: f64 = 71.0;
/// Of a pixel, in degrees Celsius.
const NOISE: f64 = 0.1;

#[derive(Clone, Debug)]
pub(super) struct Camera {
    rows: Vec<Vec<f64>>,
    chance: Chance,
}

impl Camera {
    pub(super) fn new(chance: Chance) -> Camera {
        let mut camera = Camera { rows: Vec::new(), chance };
        camera.shoot(0.0, super::ROOM, super::ROOM);
        camera
    }

    /// Takes the next picture, at this time and in this room.
    pub(super) fn shoot(&mut self, now: f64, room: f64, plate: f64) {
        let (across, down) = spot(now);
        let background = room + (plate - room) * SEES;
        let mut pixel = |row: usize, column: usize| {
            let (x, y) = (column as f64 - across, row as f64 - down);
            let near = (-(x * x + y * y) / (2.0 * SPREAD * SPREAD)).exp();
            rounded(background + WARMER * near + self.chance.swing() * NOISE, 1)
        };
        self.rows = (0..ROWS).map(|row| (0..COLUMNS).map(|column| pixel(row, column)).collect()).collect();
    }

    pub(super) fn row(&self, row: usize) -> Option<Value> {
        Some(json!(self.rows.get(row)?))
    }

    /// The warmest pixel of the last picture.
    pub(super) fn max(&self) -> Value {
        let max = self.rows.iter().flatten().copied().fold(f64::MIN, f64::max);
        json!({ "data": max })
    }
}

/// Where the spot is, in pixels from the left and from the top.
fn spot(now: f64) -> (f64, f64) {
    let (middle_across, middle_down) = (COLUMNS as f64 / 2.0 - 0.5, ROWS as f64 / 2.0 - 0.5);
    (
        middle_across * (1.0 + 0.7 * (TAU * now / ACROSS).sin()),
        middle_down * (1.0 + 0.7 * (TAU * now / DOWN).cos()),
    )
}
