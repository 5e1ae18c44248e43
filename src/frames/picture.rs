//! A frame as a picture in false colours, with a scale beside it.

use super::{
    Frame, font,
    palette::{self, Rgb, SHADES},
};
use crate::error::Error;

/// What a pixel of the camera is enlarged to, each way.
const PIXEL: usize = 16;
/// Around the picture, the scale and its numbers.
const MARGIN: usize = 16;
/// How wide the scale is.
const SCALE: usize = 20;
/// From the scale to its numbers.
const GAP: usize = 8;
/// What a dot of a sign is enlarged to, each way.
const DOT: usize = 2;
/// From the beginning of a sign to that of the next.
const ADVANCE: usize = (font::WIDTH + 1) * DOT;
/// Room for `-123.4°C`: the picture keeps its size while temperatures change.
const SIGNS: usize = 8;
/// From a stripe to the next where a row is missing.
const HATCH: usize = 8;

// The table of colours: the shades, and behind them what has no temperature.
const PAPER: u8 = SHADES as u8;
const INK: u8 = PAPER + 1;
const NOTHING: u8 = PAPER + 2;
const STRIPE: u8 = PAPER + 3;
const OTHERS: [Rgb; 4] = [[22, 24, 29], [226, 228, 233], [44, 48, 55], [92, 98, 108]];

/// A PNG of the frame: its pixels from the margin on, rows that are missing hatched, and the scale to the right.
pub fn png(frame: &Frame) -> Result<Vec<u8>, Error> {
    let canvas = drawn(frame);
    let colours: Vec<u8> = palette::shades().chain(OTHERS).flatten().collect();
    let size = |length: usize| u32::try_from(length).map_err(Error::internal);
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, size(canvas.width)?, size(canvas.height())?);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(colours);
    let mut writer = encoder.write_header().map_err(Error::internal)?;
    writer.write_image_data(&canvas.dots).map_err(Error::internal)?;
    writer.finish().map_err(Error::internal)?;
    Ok(png)
}

fn drawn(frame: &Frame) -> Canvas {
    let labels = labels(frame.min, frame.max);
    let signs = labels.iter().map(|(label, _)| label.chars().count()).fold(SIGNS, usize::max);
    let (width, height) = (frame.columns as usize * PIXEL, frame.rows.len() * PIXEL);
    let scale = MARGIN + width + MARGIN;
    let numbers = scale + SCALE + GAP;
    let mut canvas = Canvas::new(numbers + signs * ADVANCE + MARGIN, MARGIN + height + MARGIN);
    for (y, row) in frame.rows.iter().enumerate() {
        let top = MARGIN + y * PIXEL;
        match row {
            Some(pixels) => {
                for (x, &celsius) in pixels.iter().enumerate() {
                    let shade = palette::shade(celsius, frame.min, frame.max);
                    canvas.fill([MARGIN + x * PIXEL, top], [PIXEL, PIXEL], |_, _| shade);
                }
            }
            None => {
                canvas.fill(
                    [MARGIN, top],
                    [width, PIXEL],
                    |x, y| {
                        if (x + y) % HATCH < 2 { STRIPE } else { NOTHING }
                    },
                )
            }
        }
    }
    canvas.fill([scale, MARGIN], [SCALE, height], |_, y| {
        let place = 1.0 - (y - MARGIN) as f64 / (height - 1) as f64;
        let place = if frame.min < frame.max { place } else { 0.5 };
        palette::shade(place, 0.0, 1.0)
    });
    for (label, place) in labels {
        let room = height - font::HEIGHT * DOT;
        canvas.write([numbers, MARGIN + ((1.0 - place) * room as f64) as usize], &label);
    }
    canvas
}

/// What is written beside the scale, and how far up: its ends and its middle, or the one temperature that there is.
fn labels(min: f64, max: f64) -> Vec<(String, f64)> {
    if min >= max {
        return vec![(label(min, 1), 0.5)];
    }
    // Where one decimal would say the same three times.
    let decimals = if max - min < 1.0 { 2 } else { 1 };
    vec![
        (label(max, decimals), 1.0),
        (label(min / 2.0 + max / 2.0, decimals), 0.5),
        (label(min, decimals), 0.0),
    ]
}

fn label(celsius: f64, decimals: usize) -> String {
    if celsius.abs() < 10_000.0 {
        // No minus before what is rounded to nothing.
        let text = format!("{celsius:.decimals$}");
        let text = match text.strip_prefix('-') {
            Some(rest) if rest.chars().all(|sign| matches!(sign, '0' | '.')) => rest,
            _ => &text,
        };
        format!("{text}°C")
    } else {
        format!("{celsius:.1e}°C")
    }
}

/// Places in the table of colours, line by line.
struct Canvas {
    width: usize,
    dots: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, dots: vec![PAPER; width * height] }
    }

    fn height(&self) -> usize {
        self.dots.len() / self.width
    }

    /// Colours a rectangle, which is inside, by where on the canvas each dot is.
    fn fill(
        &mut self,
        [left, top]: [usize; 2],
        [width, height]: [usize; 2],
        colour: impl Fn(usize, usize) -> u8,
    ) {
        for y in top..top + height {
            for x in left..left + width {
                self.dots[y * self.width + x] = colour(x, y);
            }
        }
    }

    fn write(&mut self, [left, top]: [usize; 2], text: &str) {
        for (n, sign) in text.chars().enumerate() {
            self.fill([left + n * ADVANCE, top], [font::WIDTH * DOT, font::HEIGHT * DOT], |x, y| {
                let (x, y) = ((x - left - n * ADVANCE) / DOT, (y - top) / DOT);
                if font::ink(sign, x, y) { INK } else { PAPER }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frames::{Assembler, Row},
        model::{Seq, Timestamp},
    };

    const HOTTEST: u8 = SHADES as u8 - 1;

    /// A frame of what `celsius` says of each row and column; where it says nothing, the row is missing.
    fn frame(columns: u16, rows: u16, celsius: impl Fn(f64, f64) -> Option<f64>) -> Frame {
        let mut assembler = Assembler::new("rig/cam".parse().unwrap());
        for number in 0..rows {
            let pixels: Option<_> =
                (0..columns).map(|column| celsius(number.into(), column.into())).collect();
            if let Some(pixels) = pixels {
                assembler.push(Row { seq: Seq(1), at: Timestamp(0), number, pixels });
            }
        }
        assembler.close().unwrap()
    }

    fn spot(row: f64, column: f64) -> f64 {
        let (y, x) = (row - 14.0, column - 9.0);
        21.0 + 0.05 * row + 17.5 * (-(x * x + y * y) / 18.0).exp()
    }

    /// What is drawn in the middle of a pixel, or up to two of its dots beside that.
    fn dots(canvas: &Canvas, row: usize, column: usize) -> Vec<u8> {
        let (x, y) = (MARGIN + column * PIXEL + PIXEL / 2, MARGIN + row * PIXEL + PIXEL / 2);
        canvas.dots[y * canvas.width + x..][..HATCH].to_vec()
    }

    #[test]
    fn the_hottest_pixel_has_the_hottest_colour_and_the_coldest_the_coldest() {
        for (columns, rows) in [(24, 36), (32, 24)] {
            let canvas = drawn(&frame(columns, rows, |row, column| Some(spot(row, column))));
            assert_eq!(dots(&canvas, 14, 9), [HOTTEST; HATCH]);
            assert_eq!(dots(&canvas, 0, usize::from(columns) - 1), [0; HATCH]);
            assert_eq!(canvas.height(), usize::from(rows) * PIXEL + 2 * MARGIN);
        }
    }

    #[test]
    fn a_row_that_is_missing_is_hatched() {
        let canvas = drawn(&frame(24, 36, |row, column| (row != 7.0).then(|| spot(row, column))));
        let hatched = dots(&canvas, 7, 9);
        assert!(hatched.contains(&NOTHING) && hatched.contains(&STRIPE), "{hatched:?}");
        assert!(hatched.iter().all(|dot| *dot > HOTTEST));
        assert!(dots(&canvas, 6, 9).iter().chain(&dots(&canvas, 8, 9)).all(|dot| *dot <= HOTTEST));
    }

    #[test]
    fn the_size_stays_while_temperatures_change() {
        let of = |celsius: f64| drawn(&frame(24, 36, |row, _| Some(celsius + row))).width;
        assert_eq!([of(1.0), of(95.0), of(-140.0)], [of(20.0); 3]);
        assert!(of(1e300) > of(20.0), "what is too long for that is written all the same");
    }

    #[test]
    fn where_all_is_the_same_there_is_one_temperature_and_one_colour() {
        let canvas = drawn(&frame(24, 36, |_, _| Some(21.0)));
        let shades = canvas.dots.iter().filter(|dot| usize::from(**dot) < SHADES);
        assert!(shades.clone().count() > 0 && shades.clone().all(|dot| *dot == HOTTEST.div_ceil(2)));
        assert_eq!(labels(21.0, 21.0), [("21.0°C".to_owned(), 0.5)]);
    }

    #[test]
    fn the_scale_is_written_in_few_signs_that_there_are() {
        for (min, max, written) in [
            (20.0, 40.5, ["40.5°C", "30.2°C", "20.0°C"]),
            (-0.04, 9.96, ["10.0°C", "5.0°C", "0.0°C"]),
            (23.1, 23.34, ["23.34°C", "23.22°C", "23.10°C"]),
            (-273.15, 20_000.0, ["2.0e4°C", "9863.4°C", "-273.1°C"]),
            (f64::MIN, f64::MAX, ["1.8e308°C", "0.0°C", "-1.8e308°C"]),
        ] {
            let labels: Vec<String> = labels(min, max).into_iter().map(|(label, _)| label).collect();
            assert_eq!(labels, written);
            for sign in labels.iter().flat_map(|label| label.chars()) {
                let inked = (0..font::HEIGHT).any(|y| (0..font::WIDTH).any(|x| font::ink(sign, x, y)));
                assert!(inked, "{sign:?} cannot be written");
            }
        }
    }
}
