"use strict";
// Packed bars back to arrays: the other half of packed_bars in page.py.
async function unsqueeze(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function unpackSymbol(packed) {
  const n = packed.n;
  const symbol = { ...packed, time: new Float64Array(n), open: new Float64Array(n), high: new Float64Array(n), low: new Float64Array(n), close: new Float64Array(n) };
  if (n) {
    const steps = new Float64Array(await unsqueeze(packed.times));
    const moves = new Int32Array(await unsqueeze(packed.prices));
    const unit = 10 ** packed.decimals;
    let time = 0;
    let before = 0;
    for (let i = 0; i < n; i += 1) {
      time += steps[i];
      const open = before + moves[i];
      const close = before + moves[3 * n + i];
      symbol.time[i] = time;
      symbol.open[i] = open / unit;
      symbol.close[i] = close / unit;
      symbol.high[i] = (Math.max(open, close) + moves[n + i]) / unit;
      symbol.low[i] = (Math.min(open, close) - moves[2 * n + i]) / unit;
      before = close;
    }
  }
  symbol.list = rowsOf(packed.events, packed.name);
  return symbol;
}

// Columns of events to one object an event, in order of their start.
function rowsOf(events, symbol) {
  return events.bar.map((bar, i) => ({
    symbol, start: bar[0], end: bar[1], low: events.low[i], high: events.high[i], known: events.known[i],
    label: events.label[i], labelProb: events.label_prob[i], eventProb: events.event_prob[i], agree: events.agree[i],
    saw: events.saw[i], cut: events.cut[i], learned: events.learned[i], gapHours: events.gap_hours[i],
  }));
}

function timeText(ms, seconds = false) {
  return new Date(ms).toISOString().replace("T", " ").slice(0, seconds ? 19 : 16);
}
