//! As small an MQTT client as there can be, so that what is measured is the gateway.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

/// A connection, awake at once for each byte.
pub fn connect(address: SocketAddr, id: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let length = u8::try_from(id.len()).unwrap();
    let mut connect = vec![0x10, 12 + length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, length];
    connect.extend_from_slice(id.as_bytes());
    socket.write_all(&connect).unwrap();
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).unwrap();
    assert_eq!(connack, [0x20, 2, 0, 0]);
    socket
}

/// Subscribes with QoS 1.
pub fn subscribe(socket: &mut TcpStream, filter: &str) {
    let length = u8::try_from(filter.len()).unwrap();
    let mut packet = vec![0x82, 5 + length, 0, 1, 0, length];
    packet.extend_from_slice(filter.as_bytes());
    packet.push(1);
    socket.write_all(&packet).unwrap();
    let mut suback = [0; 5];
    socket.read_exact(&mut suback).unwrap();
    assert_eq!(suback, [0x90, 3, 0, 1, 1]);
}

/// A PUBLISH with QoS 1.
pub fn publish(packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x32];
    let mut length = 2 + topic.len() + 2 + payload.len();
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(&(topic.len() as u16).to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(&packet_id.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// The next packet: its first byte, and what follows its length. None when the connection has ended.
pub fn next(socket: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut byte = [0];
    socket.read_exact(&mut byte).ok()?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        socket.read_exact(&mut byte).ok()?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut rest = vec![0; length];
    socket.read_exact(&mut rest).ok()?;
    Some((kind, rest))
}
