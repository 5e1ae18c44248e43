//! Frames, from the rows that they arrive in: without time or I/O.
//!
//! Whether two rows that follow each other belong together, these two say alone. So the same frames are made of the same rows
//! whoever looks at them, and wherever the looking begins.

use std::mem;

use super::{Frame, Pixel, USUAL};
use crate::model::{Seq, ServiceName, Timestamp};

/// In microseconds. A camera that has been silent for so long has nothing to add to its frame.
pub const SILENCE_US: u64 = 2_000_000;

/// A row as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub seq: Seq,
    pub at: Timestamp,
    /// Which row of its frame it is, from the top.
    pub number: u16,
    /// In degrees Celsius, from left to right.
    pub pixels: Vec<f64>,
}

/// The frame of a service that is being sent.
#[derive(Clone, Debug)]
pub struct Assembler {
    service: ServiceName,
    /// By number, from the top.
    rows: Vec<Row>,
}

impl Assembler {
    pub fn new(service: ServiceName) -> Assembler {
        Assembler { service, rows: Vec::new() }
    }

    /// Takes the next row, and gives the frame that it does not belong to.
    pub fn push(&mut self, row: Row) -> Option<Frame> {
        let apart = self.rows.last().is_some_and(|last| {
            row.number <= last.number
                || row.pixels.len() != last.pixels.len()
                || silent_between(last.at, row.at)
        });
        let closed = if apart { self.close() } else { None };
        self.rows.push(row);
        closed
    }

    /// Gives the frame if at this moment nothing more belongs to it.
    pub fn due(&mut self, now: Timestamp) -> Option<Frame> {
        if silent_between(self.last_at()?, now) { self.close() } else { None }
    }

    /// Gives the frame as it is.
    pub fn close(&mut self) -> Option<Frame> {
        framed(&self.service, mem::take(&mut self.rows))
    }

    /// When the last row of the frame arrived. None between frames.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.rows.last().map(|row| row.at)
    }
}

/// Whichever comes first: a clock that was set back in between says nothing of how long it was.
fn silent_between(one: Timestamp, other: Timestamp) -> bool {
    one.0.abs_diff(other.0) >= SILENCE_US
}

/// None of no rows. They have one length, and their numbers grow.
fn framed(service: &ServiceName, rows: Vec<Row>) -> Option<Frame> {
    let (first, last) = (rows.first()?, rows.last()?);
    let columns = first.pixels.len();
    let usual = USUAL.iter().find(|(width, _)| *width == columns).map_or(0, |(_, height)| *height);
    let height = usual.max(usize::from(last.number) + 1);
    let mut frame = Frame {
        firmware: service.firmware().to_owned(),
        service: service.name().to_owned(),
        first_seq: first.seq,
        seq: last.seq,
        at: last.at,
        columns: columns as u32,
        rows: vec![None; height],
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        hottest: Pixel { row: 0, column: 0 },
    };
    for row in rows {
        for (column, &celsius) in (0..).zip(&row.pixels) {
            frame.min = frame.min.min(celsius);
            if celsius > frame.max {
                frame.max = celsius;
                frame.hottest = Pixel { row: row.number.into(), column };
            }
        }
        frame.rows[usize::from(row.number)] = Some(row.pixels);
    }
    Some(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn assembler() -> Assembler {
        Assembler::new("rig/cam".parse().unwrap())
    }

    /// A row whose seq and moment are told by how many milliseconds have passed.
    fn row(number: u16, ms: i64, length: usize) -> Row {
        let pixels = (0..length).map(|column| f64::from(number) + column as f64 / 100.0).collect();
        Row { seq: Seq(ms + 1), at: Timestamp(ms * 1000), number, pixels }
    }

    #[test]
    fn a_number_that_does_not_grow_begins_the_next_frame() {
        for next in [0, 2, 35] {
            let mut assembler = assembler();
            assert_eq!(assembler.push(row(34, 0, 24)), None);
            assert_eq!(assembler.push(row(35, 1, 24)), None);
            let frame = assembler.push(row(next, 2, 24)).unwrap();
            assert_eq!((frame.first_seq, frame.seq, frame.at), (Seq(1), Seq(2), Timestamp(1000)));
            assert_eq!((frame.min, frame.max), (34.0, 35.23));
            assert_eq!(frame.hottest, Pixel { row: 35, column: 23 });
            assert_eq!(assembler.close().unwrap().seq, Seq(3));
            assert_eq!(assembler.close(), None);
        }
    }

    #[test]
    fn a_frame_has_the_rows_that_its_width_is_usual_with() {
        for (columns, last, height) in [(24, 3, 36), (32, 3, 24), (32, 30, 31), (5, 3, 4)] {
            let mut assembler = assembler();
            assembler.push(row(1, 0, columns));
            assembler.push(row(last, 1, columns));
            let frame = assembler.close().unwrap();
            assert_eq!((frame.columns as usize, frame.rows.len()), (columns, height));
            let sent = (0..).zip(&frame.rows).filter(|(_, row)| row.is_some()).map(|(number, _)| number);
            assert_eq!(sent.collect::<Vec<u16>>(), [1, last], "a row that did not come is null");
        }
    }

    #[test]
    fn a_row_of_another_length_begins_the_next_frame() {
        let mut assembler = assembler();
        assembler.push(row(0, 0, 24));
        assert_eq!(assembler.push(row(1, 1, 32)).unwrap().columns, 24);
        assert_eq!(assembler.close().unwrap().columns, 32);
    }

    #[test]
    fn two_seconds_of_silence_end_a_frame() {
        let mut assembler = assembler();
        assembler.push(row(0, 0, 24));
        assert_eq!(assembler.due(Timestamp(1_999_999)), None);
        assert_eq!(assembler.push(row(1, 1_999, 24)), None);
        assert_eq!(assembler.due(Timestamp(3_998_000)), None);
        assert_eq!(assembler.push(row(2, 3_999, 24)).unwrap().seq, Seq(2_000));
        assert_eq!(assembler.due(Timestamp(5_999_000)).unwrap().first_seq, Seq(4_000));
        assert_eq!(assembler.due(Timestamp(i64::MAX)), None);
    }

    #[test]
    fn a_clock_that_was_set_ends_a_frame_too() {
        let mut assembler = assembler();
        assembler.push(row(0, 9_000, 24));
        assert!(assembler.push(row(1, 5_000, 24)).is_some());
        assert!(assembler.due(Timestamp(0)).is_some());
    }

    #[test]
    fn the_hottest_pixel_is_the_first_of_those_that_are() {
        let mut assembler = assembler();
        assembler.push(Row { pixels: vec![-9.0, -5.0, -5.0], ..row(4, 0, 0) });
        assembler.push(Row { pixels: vec![-5.0, -7.0, -8.0], ..row(6, 0, 0) });
        let frame = assembler.close().unwrap();
        assert_eq!((frame.min, frame.max, frame.hottest), (-9.0, -5.0, Pixel { row: 4, column: 1 }));
    }

    proptest! {
        #[test]
        fn every_row_is_in_exactly_one_frame(
            sent in prop::collection::vec((0..40u16, 0..3_000i64, prop_oneof![Just(24usize), Just(32)]), 0..200),
            joined in 0..200usize,
        ) {
            let mut now = 0;
            let rows: Vec<Row> = sent.into_iter().map(|(number, after, length)| {
                now += after + 1;
                row(number, now, length)
            }).collect();
            let frames = |rows: &[Row]| {
                let mut assembler = assembler();
                let mut frames: Vec<Frame> =
                    rows.iter().filter_map(|row| assembler.push(row.clone())).collect();
                frames.extend(assembler.close());
                frames
            };
            let all = frames(&rows);
            let told: Vec<&Vec<f64>> = all.iter().flat_map(|frame| frame.rows.iter().flatten()).collect();
            prop_assert_eq!(told, rows.iter().map(|row| &row.pixels).collect::<Vec<_>>());
            for frame in &all {
                let hottest = &frame.hottest;
                let row = frame.rows[hottest.row as usize].as_ref().unwrap();
                prop_assert_eq!(row[hottest.column as usize], frame.max);
                prop_assert!(frame.rows.iter().flatten().flatten().all(|celsius| (frame.min..=frame.max).contains(celsius)));
            }
            // Whoever joins later sees the same, from the second frame on.
            let late = frames(&rows[joined.min(rows.len())..]);
            prop_assert!(late.is_empty() || all.ends_with(&late[1..]));
        }
    }
}
