use bytes::Bytes;

use super::*;
use crate::{
    catalog,
    model::{Action, Surface},
};

const PID: &str =
    r#"{"kp":1.5,"ki":0.1,"kd":0.0,"setpoint":50.0,"pause_output":false,"pause_target_input":false}"#;

fn rule(kind: &str) -> &'static Topic {
    catalog::find(kind).unwrap().commands().next().unwrap()
}

fn record(target: Target, payload: &str) -> CommandRecord {
    CommandRecord {
        id: Seq::ZERO,
        seq: Seq::ZERO,
        accepted_at: Timestamp(1),
        at: Timestamp(1),
        topic: String::new(),
        target,
        payload: payload.to_owned(),
        state: CommandState::Accepted,
        delivery: None,
        qos: 1,
        timeout_ms: Some(5_000),
        answer: None,
        mismatches: Vec::new(),
        reason: None,
        ambiguous: false,
        surface: Surface::Rest,
        client_id: None,
        address: None,
        idempotency_key: None,
    }
}

/// A docket, and a clock that stands until it is moved.
struct Desk {
    docket: Docket,
    now: Instant,
    last: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk { docket: Docket::default(), now: Instant::now(), last: 0 }
    }

    fn accept(&mut self, topic: &str, payload: &str, rule: Option<&'static Topic>) -> Result<Ticket, Error> {
        self.order(record(Target::Service(topic.parse().unwrap()), payload), rule)
    }

    fn order(&mut self, record: CommandRecord, rule: Option<&'static Topic>) -> Result<Ticket, Error> {
        self.last += 1;
        let ticket = Ticket(self.last);
        let accept = Accept { ticket, record, rule, offline: false };
        let mut record = self.docket.accept(accept, self.now)?;
        (record.id, record.seq) = (Seq(self.last as i64), Seq(self.last as i64));
        self.docket.settle(ticket, &record);
        Ok(ticket)
    }

    /// A command for `rig/heater/config`, a pid, that is out.
    fn out(&mut self) -> Ticket {
        let ticket = self.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
        assert_eq!(self.docket.announce(ticket, 1, Timestamp(2), self.now).len(), 1);
        ticket
    }

    fn says(&mut self, topic: &str, payload: &str) -> Option<CommandRecord> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let topic = topic.parse().unwrap();
        let reading = ServiceReading { seq: Seq::ZERO, at: Timestamp(9), topic, replay_of: None, payload };
        self.docket.heard(&reading, 1, self.now)
    }
}

#[test]
fn what_the_device_says_ends_the_command() {
    for (answer, state) in
        [(PID, CommandState::Confirmed), (&PID.replace("50.0", "40"), CommandState::Mismatch)]
    {
        let mut desk = Desk::new();
        desk.out();
        let heard = desk.says("rig/heater/response", answer);
        let ended = heard.unwrap();
        assert_eq!(ended.state, state);
        let told = ended.answer.unwrap();
        assert_eq!((told.seq, told.payload.as_str(), told.late), (Seq(-1), answer, false));
        // One answer, and the next may come.
        assert_eq!(desk.says("rig/heater/response", PID), None);
        desk.out();
    }
}

#[test]
fn what_was_said_before_it_went_out_is_no_answer() {
    let mut desk = Desk::new();
    let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
    assert_eq!(desk.says("rig/heater/response", PID), None);
    desk.docket.announce(ticket, 1, Timestamp(2), desk.now);
    assert!(desk.says("rig/heater/response", PID).is_some());
}

#[test]
fn what_reached_nobody_is_answered_by_nobody() {
    let mut desk = Desk::new();
    let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
    desk.docket.announce(ticket, 0, Timestamp(2), desk.now);
    assert_eq!(desk.says("rig/heater/response", PID), None);
}

#[test]
fn a_slow_answer_is_that_of_the_command_that_it_confirms() {
    let mut desk = Desk::new();
    let slow = desk.out();
    desk.docket.lapse(slow, Timestamp(8), desk.now).unwrap();
    let other = PID.replace("50.0", "60.0");
    let next = desk.accept("rig/heater/config", &other, Some(rule("pid"))).unwrap();
    desk.docket.announce(next, 1, Timestamp(9), desk.now);
    let first = desk.says("rig/heater/response", PID).unwrap();
    assert_eq!((first.id, first.state), (Seq(1), CommandState::TimedOut));
    let second = desk.says("rig/heater/response", &other).unwrap();
    assert_eq!((second.id, second.state), (Seq(2), CommandState::Confirmed));
}

#[test]
fn a_command_that_is_not_written_yet_is_under_way_without_a_name() {
    let mut desk = Desk::new();
    let mut accept = |ticket| {
        let record = record(Target::Service("rig/heater/config".parse().unwrap()), PID);
        let accept = Accept { ticket: Ticket(ticket), record, rule: Some(rule("pid")), offline: false };
        desk.docket.accept(accept, desk.now)
    };
    assert!(accept(1).is_ok());
    let second = accept(2);
    assert!(matches!(second, Err(Error::CommandInFlight { command: None, .. })), "{second:?}");
}

#[test]
fn one_command_is_under_way_on_a_topic() {
    let mut desk = Desk::new();
    let first = desk.out();
    let second = desk.accept("rig/heater/config", PID, Some(rule("pid")));
    assert!(matches!(second, Err(Error::CommandInFlight { command: Some(Seq(1)), .. })), "{second:?}");
    desk.accept("rig/other/config", PID, Some(rule("pid"))).unwrap();
    desk.docket.lapse(first, Timestamp(8), desk.now).unwrap();
    desk.out();
}

#[test]
fn a_command_that_was_never_written_blocks_nobody() {
    let mut desk = Desk::new();
    let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
    desk.docket.lose(ticket);
    desk.out();
}

#[test]
fn a_late_answer_is_attached_and_changes_nothing() {
    let mut desk = Desk::new();
    let ticket = desk.out();
    let over = desk.docket.lapse(ticket, Timestamp(8), desk.now).unwrap();
    assert_eq!((over.state, over.answer), (CommandState::TimedOut, None));
    let late = desk.says("rig/heater/response", PID).unwrap();
    assert_eq!(late.state, CommandState::TimedOut);
    assert!(late.answer.unwrap().late);
    assert_eq!(desk.says("rig/heater/response", PID), None);
}

#[test]
fn whose_answer_it_is_may_be_in_doubt() {
    let mut desk = Desk::new();
    let first = desk.out();
    desk.docket.overheard(&"rig/heater/config".parse().unwrap());
    assert!(desk.docket.lapse(first, Timestamp(8), desk.now).unwrap().ambiguous);
    // The first may still be answered.
    let second = desk.out();
    assert!(desk.docket.lapse(second, Timestamp(8), desk.now).unwrap().ambiguous);
    desk.says("rig/heater/response", PID);
    desk.says("rig/heater/response", PID);
    let third = desk.out();
    assert!(!desk.docket.lapse(third, Timestamp(8), desk.now).unwrap().ambiguous);
}

#[test]
fn a_state_that_names_no_command_may_be_that_of_the_command_before() {
    let told = |desk: &mut Desk, kind: &str, payload: &str| {
        let ticket = desk.accept("rig/valve/command", payload, Some(rule(kind))).unwrap();
        desk.docket.announce(ticket, 1, Timestamp(2), desk.now);
    };
    let (transition, idle) = (
        r#"{"command":"TRANSITION"}"#,
        r#"{"success":true,"inputs":[true,false],"outputs":[true,false],"current_state":"IDLE"}"#,
    );
    let mut desk = Desk::new();
    told(&mut desk, "stateful_actuator", transition);
    let first = desk.says("rig/valve/state", idle).unwrap();
    assert_eq!((first.state, first.ambiguous), (CommandState::Confirmed, false));
    told(&mut desk, "stateful_actuator", transition);
    let second = desk.says("rig/valve/state", idle).unwrap();
    assert_eq!((second.state, second.ambiguous), (CommandState::Confirmed, true));
    // Whatever the first made of the valve is done by then.
    desk.now += REMEMBERED + Duration::from_secs(1);
    told(&mut desk, "stateful_actuator", transition);
    assert!(!desk.says("rig/valve/state", idle).unwrap().ambiguous);

    // What repeats the command is about that one.
    let mut desk = Desk::new();
    for command in ["OPEN", "CLOSE"] {
        told(&mut desk, "actuator", &format!(r#"{{"command":"{command}"}}"#));
        let state = format!(r#"{{"command":"{command}","state":"{command}","success":true}}"#);
        assert!(!desk.says("rig/valve/state", &state).unwrap().ambiguous);
    }
}

#[test]
fn nobody_answers_what_has_no_answer() {
    let mut desk = Desk::new();
    let device = Target::Device { device: "esp32".into(), action: Action::Play };
    for _ in 0..2 {
        // A device takes the next at once.
        let ticket = desk.order(record(device.clone(), "true"), None).unwrap();
        let states = desk.docket.announce(ticket, 0, Timestamp(2), desk.now);
        let told: Vec<_> = states.iter().map(|record| (record.state, record.delivery)).collect();
        let nobody = Some(Delivery::NoSubscriber);
        assert_eq!(told, [(CommandState::Published, nobody), (CommandState::Unconfirmable, nobody)]);
    }
}

#[test]
fn a_delivery_rises_once_also_after_the_end() {
    let mut desk = Desk::new();
    desk.out();
    desk.says("rig/heater/response", PID);
    let risen = desk.docket.delivered(Seq(1), Timestamp(10)).unwrap();
    assert_eq!((risen.state, risen.delivery), (CommandState::Confirmed, Some(Delivery::Acknowledged)));
    assert_eq!(desk.docket.delivered(Seq(1), Timestamp(11)), None);
}

#[test]
fn a_command_that_could_not_be_written_in_time_expires() {
    let mut desk = Desk::new();
    let ticket = desk.accept("rig/heater/config", PID, Some(rule("pid"))).unwrap();
    let over = desk.docket.lapse(ticket, Timestamp(8), desk.now).unwrap();
    assert_eq!((over.state, over.reason.as_deref()), (CommandState::Expired, Some("JOURNAL_BEHIND")));
    desk.out();
}

#[test]
fn nothing_is_kept_of_what_is_long_over() {
    let mut desk = Desk::new();
    for _ in 0..3 {
        let ticket = desk.out();
        desk.docket.lapse(ticket, Timestamp(8), desk.now);
    }
    desk.now += REMEMBERED + Duration::from_secs(1);
    let last = desk.out();
    assert_eq!(desk.docket.cases.len(), 1);
    desk.docket.lose(last);
    let Docket { cases, under_way, answerable, by_id, finished } = &desk.docket;
    assert!(cases.is_empty() && under_way.is_empty() && answerable.is_empty() && by_id.is_empty());
    assert!(finished.is_empty());
}

#[test]
fn what_the_last_run_left_is_over() {
    let service = Target::Service("rig/heater/config".parse().unwrap());
    let left = Docket::left(record(service, PID), Timestamp(9));
    assert_eq!((left.state, left.reason.as_deref()), (CommandState::Expired, Some("RESTART")));
    let device = Target::Device { device: "esp32".into(), action: Action::Play };
    let published =
        CommandRecord { state: CommandState::Published, timeout_ms: None, ..record(device, "true") };
    assert_eq!(Docket::left(published, Timestamp(9)).state, CommandState::Unconfirmable);
}
