//! How a simulated device puts what it says into messages: as it should, or as some in the field do.

use super::{Fault, climate::Measurement};
use crate::address::Address;

/// Two good readings for each broken one: with fewer it would be called STALE, which is another fault.
const GARBAGE_EVERY: usize = 3;
/// The degree sign of a firmware that knows only Latin-1.
const DEGREE: u8 = 0xB0;
/// What firmwares have to say beside their measurements.
const UNKNOWN_FIELDS: &str = r#","rssi":-61,"calibration":{"offset":-0.4,"at":null}"#;

/// The speech of one device.
#[derive(Debug)]
pub(super) struct Speech {
    device: String,
    fault: Option<Fault>,
    /// How many measurements were put into messages.
    said: usize,
}

/// What a device publishes when it has measured.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    /// What is wrong with it on purpose.
    pub(super) flaw: Option<Flaw>,
}

/// A way to break a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    CutOff,
    NotANumber,
    Text,
    Misspelt,
    NotUtf8,
    TooDeep,
    List,
    Empty,
}

impl Speech {
    pub(super) fn new(device: &str, fault: Option<Fault>) -> Speech {
        Speech { device: device.to_owned(), fault, said: 0 }
    }

    /// The topic of its will and its `online`.
    pub(super) fn presence(&self) -> String {
        let topic = Address::Presence { device: self.device.clone() }.to_string();
        if self.fault == Some(Fault::Alias) { format!("/{topic}") } else { topic }
    }

    /// What is odd in all that it says, after "is online".
    pub(super) fn accent(&self) -> String {
        match self.fault {
            Some(Fault::Alias) => format!(", and says so on {}", self.presence()),
            Some(Fault::Float) => ", and gives each reading another form".to_owned(),
            Some(Fault::Crash | Fault::Takeover | Fault::Freeze | Fault::Flap | Fault::Garbage) | None => {
                String::new()
            }
        }
    }

    /// The next measurement.
    pub(super) fn report(&mut self, measured: &Measurement) -> Report {
        let turn = self.said;
        self.said += 1;
        let topic = self.topic();
        match self.fault {
            Some(Fault::Garbage) if turn % GARBAGE_EVERY == GARBAGE_EVERY - 1 => {
                Flaw::ALL[turn / GARBAGE_EVERY % Flaw::ALL.len()].spoil(topic, measured)
            }
            Some(Fault::Float) => {
                Report { topic, payload: in_another_form(measured, turn).into_bytes(), flaw: None }
            }
            Some(
                Fault::Crash | Fault::Takeover | Fault::Freeze | Fault::Flap | Fault::Garbage | Fault::Alias,
            )
            | None => Report { topic, payload: json(measured).into_bytes(), flaw: None },
        }
    }

    fn topic(&self) -> String {
        // No other name is known to be misspelt in the field.
        let misspelt = self.fault == Some(Fault::Alias) && self.device == "raspberry";
        let device = if misspelt { "rasperry" } else { &self.device };
        Address::Sensor { device: device.to_owned() }.to_string()
    }
}

impl Flaw {
    const ALL: [Flaw; 8] = [
        Flaw::CutOff,
        Flaw::NotANumber,
        Flaw::Text,
        Flaw::Misspelt,
        Flaw::NotUtf8,
        Flaw::TooDeep,
        Flaw::List,
        Flaw::Empty,
    ];

    /// What it is, after "sends garbage: ".
    pub(super) fn words(self) -> &'static str {
        match self {
            Flaw::CutOff => "a reading that is cut off",
            Flaw::NotANumber => "NaN for its temperature",
            Flaw::Text => "its temperature as a text",
            Flaw::Misspelt => "its humidity under a misspelt name",
            Flaw::NotUtf8 => "a degree sign that is not UTF-8",
            Flaw::TooDeep => "a reading on a topic with a level too many",
            Flaw::List => "a list instead of an object",
            Flaw::Empty => "nothing at all",
        }
    }

    fn spoil(self, topic: String, measured: &Measurement) -> Report {
        let good = json(measured);
        let temperature = format!("{:?}", measured.temperature);
        let (topic, payload) = match self {
            Flaw::CutOff => (topic, good[..good.len() / 2].into()),
            // The temperature comes first.
            Flaw::NotANumber => (topic, good.replacen(&temperature, "NaN", 1).into()),
            Flaw::Text => (topic, good.replacen(&temperature, &format!("{temperature:?}"), 1).into()),
            Flaw::Misspelt => (topic, good.replace("humidity", "humidty").into()),
            Flaw::NotUtf8 => (topic, with_degree(&good)),
            Flaw::TooDeep => (format!("{topic}/temperature"), good.into()),
            Flaw::List => (topic, format!("[{temperature},{:?}]", measured.humidity).into()),
            Flaw::Empty => (topic, Vec::new()),
        };
        Report { topic, payload, flaw: Some(self) }
    }
}

fn json(measured: &Measurement) -> String {
    serde_json::to_string(measured).expect("numbers and text are JSON")
}

fn with_degree(good: &str) -> Vec<u8> {
    let unit = good.rfind('C').expect("the unit is Celsius");
    [&good.as_bytes()[..unit], &[DEGREE], &good.as_bytes()[unit..]].concat()
}

/// A measurement in one of the many forms that are valid: each 18 turns all of them were used.
fn in_another_form(measured: &Measurement, turn: usize) -> String {
    let Measurement { temperature, humidity, threshold, over_threshold, unit } = measured;
    let number = [whole, decimal, scientific][turn % 3];
    let (temperature, humidity, threshold) = (number(*temperature), number(*humidity), number(*threshold));
    let optional = match turn / 3 % 3 {
        0 => format!(r#","over_threshold":{over_threshold},"unit":{unit:?}"#),
        1 => r#","over_threshold":null,"unit":null"#.to_owned(),
        _ => String::new(),
    };
    let unknown = if turn.is_multiple_of(2) { "" } else { UNKNOWN_FIELDS };
    format!(
        r#"{{"temperature":{temperature},"humidity":{humidity},"threshold":{threshold}{optional}{unknown}}}"#
    )
}

/// Cut off, not rounded: so it stays on its side of a threshold that is whole.
fn whole(value: f64) -> String {
    format!("{:.0}", value.trunc())
}

/// With a decimal at least.
fn decimal(value: f64) -> String {
    format!("{value:?}")
}

fn scientific(value: f64) -> String {
    format!("{value:e}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;
    use crate::simulator::climate::Climate;

    fn said(device: &str, fault: Option<Fault>, times: usize) -> Vec<(Measurement, Report)> {
        let mut speech = Speech::new(device, fault);
        let mut climate = Climate::around(device, "peer");
        let mut say = || {
            let measured = climate.measure();
            let report = speech.report(&measured);
            (measured, report)
        };
        (0..times).map(|_| say()).collect()
    }

    #[test]
    fn a_device_without_a_fault_speaks_as_it_should() {
        assert_eq!(Speech::new("esp32", None).presence(), "presence/esp32/status");
        for (measured, report) in said("esp32", None, 10) {
            assert_eq!(
                report,
                Report { topic: "sensors/esp32".into(), payload: json(&measured).into(), flaw: None }
            );
        }
    }

    #[test]
    fn every_flaw_comes_in_its_turn_between_good_readings() {
        let flaws: Vec<Option<Flaw>> =
            said("esp32", Some(Fault::Garbage), 24).into_iter().map(|(_, report)| report.flaw).collect();
        let wanted: Vec<Option<Flaw>> =
            Flaw::ALL.into_iter().flat_map(|flaw| [None, None, Some(flaw)]).collect();
        assert_eq!(flaws, wanted);
    }

    #[test]
    fn the_aliases_are_those_of_the_field() {
        for (device, sensor) in [("esp32", "sensors/esp32"), ("raspberry", "sensors/rasperry")] {
            let alias = Some(Fault::Alias);
            assert_eq!(Speech::new(device, alias).presence(), format!("/presence/{device}/status"));
            assert!(said(device, alias, 3).iter().all(|(_, report)| report.topic == sensor));
        }
    }

    #[test]
    fn the_forms_differ_and_mean_the_same() {
        let mut forms = HashSet::new();
        for (measured, Report { payload, .. }) in said("esp32", Some(Fault::Float), 36) {
            let value: Value = serde_json::from_slice(&payload).expect("it is JSON");
            let number = |name: &str| value[name].as_f64().expect("it is a number");
            assert!((0.0..1.0).contains(&(measured.temperature - number("temperature"))), "{value}");
            assert_eq!(number("temperature") >= number("threshold"), measured.over_threshold, "{value}");
            assert!(value["over_threshold"].as_bool().is_none_or(|over| over == measured.over_threshold));
            let text = String::from_utf8(payload).expect("it is UTF-8");
            forms.insert(text.replace(|digit: char| digit.is_ascii_digit(), ""));
        }
        assert!(forms.len() >= 18, "{forms:?}");
    }

    #[test]
    fn a_number_has_three_forms() {
        assert_eq!([whole(29.0), decimal(29.0), scientific(29.0)], ["29", "29.0", "2.9e1"]);
    }
}
