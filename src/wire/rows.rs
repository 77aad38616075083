//! Released rows → RowDescription's companions, DataRow by DataRow.
//!
//! In: batches and the formats a client asked for. Out: bytes, as fast as the client takes them. A cancellation, or the end of
//! the server, stops between two rows; the buffer of the socket bounds what waits for a slow client.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use bytes::{BufMut, BytesMut};
use pgwire::api::results::FieldFormat;
use tokio_util::sync::CancellationToken;

use super::encode::{self, Column};
use super::errors::{Flow, refuse};
use super::socket::Socket;
use crate::error::SqlState;

/// How far a portal has got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    batch: usize,
    row: usize,
}

/// Sends up to `most` rows from `cursor` on. `true`: there are no more.
pub(super) async fn send(
    socket: &mut Socket,
    schema: &Schema,
    batches: &[RecordBatch],
    formats: &[FieldFormat],
    cursor: &mut Cursor,
    most: usize,
    cancel: &CancellationToken,
) -> Flow<bool> {
    let mut left = most;
    while let Some(batch) = batches.get(cursor.batch) {
        let until = batch.num_rows().min(cursor.row.saturating_add(left));
        if cursor.row < until {
            // A portal that is fetched in small steps must not convert the whole batch at each.
            let rows = until - cursor.row;
            let columns = encode::columns(schema, &batch.slice(cursor.row, rows))?;
            for row in 0..rows {
                put_row(&columns, formats, row, &mut socket.output)?;
                cursor.row += 1;
                left -= 1;
                socket.drain(cancel).await?;
            }
        }
        if cursor.row < batch.num_rows() {
            return Ok(false);
        }
        *cursor = Cursor { batch: cursor.batch + 1, row: 0 };
    }
    Ok(true)
}

/// Passes over up to `most` rows. Gives how many there were.
pub(super) fn skip(batches: &[RecordBatch], cursor: &mut Cursor, most: usize) -> usize {
    let mut left = most;
    while left > 0
        && let Some(batch) = batches.get(cursor.batch)
    {
        let rows = (batch.num_rows() - cursor.row).min(left);
        left -= rows;
        cursor.row += rows;
        if cursor.row == batch.num_rows() {
            *cursor = Cursor { batch: cursor.batch + 1, row: 0 };
        }
    }
    most - left
}

/// One DataRow, whole or not at all.
fn put_row(columns: &[Column], formats: &[FieldFormat], row: usize, out: &mut BytesMut) -> Flow {
    let start = out.len();
    let put = try_put_row(columns, formats, row, out);
    if put.is_err() {
        out.truncate(start);
    }
    put
}

fn try_put_row(columns: &[Column], formats: &[FieldFormat], row: usize, out: &mut BytesMut) -> Flow {
    const DATA_ROW: u8 = b'D';
    let too_long = || refuse(SqlState::ProgramLimitExceeded, "a row is too long");
    out.put_u8(DATA_ROW);
    let start = out.len();
    out.put_u32(0);
    out.put_i16(i16::try_from(columns.len()).map_err(|_| too_long())?);
    for (column, format) in columns.iter().zip(formats) {
        column.put(row, *format, out)?;
    }
    let length = i32::try_from(out.len() - start).map_err(|_| too_long())?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::wire::errors::Failure;

    fn numbers(rows: std::ops::Range<i64>) -> (Schema, RecordBatch) {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let column = Arc::new(Int64Array::from_iter_values(rows));
        let batch = RecordBatch::try_new(Arc::new(schema.clone()), vec![column]).unwrap();
        (schema, batch)
    }

    #[tokio::test]
    async fn a_portal_goes_on_where_it_stopped() {
        let (schema, first) = numbers(0..3);
        let batches = [first.slice(0, 0), first, numbers(3..5).1];
        let (_client, server) = tokio::io::duplex(1024);
        let mut socket = Socket::new(server);
        let cancel = CancellationToken::new();
        let mut cursor = Cursor::default();
        let mut rows = Vec::new();
        for last in [false, false, true] {
            let text = [FieldFormat::Text];
            let ended = send(&mut socket, &schema, &batches, &text, &mut cursor, 2, &cancel).await.unwrap();
            assert_eq!(ended, last);
            rows.push(socket.output.split().last().copied().unwrap());
        }
        assert_eq!(rows, b"134");
    }

    /// pgwire's own handler looks at a cancellation only until the first row is there.
    #[tokio::test]
    async fn a_client_that_does_not_read_can_be_cancelled() {
        const ROWS: i64 = 200_000;
        let (schema, batch) = numbers(0..ROWS);
        let (mut client, server) = tokio::io::duplex(1024);
        let mut socket = Socket::new(server);
        let cancel = CancellationToken::new();
        let mut cursor = Cursor::default();
        let (sent, ()) = tokio::join!(
            send(
                &mut socket,
                &schema,
                std::slice::from_ref(&batch),
                &[FieldFormat::Text],
                &mut cursor,
                usize::MAX,
                &cancel,
            ),
            async { cancel.cancel() }
        );
        let Err(Failure::Statement(error)) = sent else {
            panic!("not cancelled");
        };
        assert_eq!(error.sqlstate, SqlState::QueryCanceled);
        assert!(cursor.row < ROWS as usize);

        // What follows begins at a message, not inside a row.
        let reader = tokio::spawn(async move {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received
        });
        socket.output.put_slice(b"Z\x00\x00\x00\x05I");
        socket.flush().await.unwrap();
        drop(socket);
        let received = reader.await.unwrap();
        let mut rest = received.as_slice();
        while rest[0] == b'D' {
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap());
            rest = &rest[1 + length as usize..];
        }
        assert_eq!(rest, b"Z\x00\x00\x00\x05I");
    }
}
