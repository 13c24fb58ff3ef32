// Replicates with PouchDB: memory -> first couchlet -> second couchlet -> memory, then back, and compares all of them.
// Arguments: the addresses of two databases, with credentials. Prints one line of JSON with what was found.
import PouchDB from "pouchdb-core";
import http from "pouchdb-adapter-http";
import memory from "pouchdb-adapter-memory";
import replication from "pouchdb-replication";

PouchDB.plugin(http).plugin(memory).plugin(replication);

const TOTAL = 1000;
const hex = letter => letter.repeat(32);
const attachment = text => ({ content_type: "text/plain", data: Buffer.from(text).toString("base64") });

function documents() {
  const made = [];
  for (let number = 0; number < TOTAL; number++) {
    const document = { _id: `doc:${String(number).padStart(5, "0")}/é`, number, text: "ünï ☃ " + number, deep: { list: [number, null, 1.5] } };
    if (number % 10 === 0) document._attachments = { "a b.txt": attachment("content " + number), "ü.bin": attachment("x".repeat(number * 40)) };
    made.push(document);
  }
  return made;
}

function branch(id, letters, more) {
  return { _id: id, _rev: `${letters.length}-${hex(letters[0])}`, _revisions: { start: letters.length, ids: [...letters].map(hex) }, ...more };
}

async function fill(database) {
  const rows = await database.bulkDocs(documents());
  const gone = rows.filter((row, number) => number % 7 === 0).map(row => ({ _id: row.id, _rev: row.rev, _deleted: true, why: "test" }));
  await database.bulkDocs(gone);
  const edited = rows.filter((row, number) => number % 7 === 1);
  for (const row of edited) await database.put({ ...(await database.get(row.id)), edited: true });
  const branches = [];
  for (let number = 0; number < 100; number++) {
    const id = `conflict:${number}`;
    branches.push(branch(id, "ba", { side: "b" }), branch(id, "ca", { side: "c", _attachments: { same: attachment("c" + number) } }));
    if (number % 3 === 0) branches.push(branch(id, "dba", { side: "d" }));
    if (number % 4 === 0) branches.push(branch(id, "ea", { side: "e", _deleted: true }));
  }
  await database.bulkDocs(branches, { new_edits: false });
}

// All leaves of all documents, with history, members and attachments, in one text that can be compared.
async function contents(database) {
  const changes = await database.changes({ style: "all_docs", since: 0 });
  const wanted = changes.results.flatMap(row => row.changes.map(change => ({ id: row.id, rev: change.rev })));
  const leaves = [];
  for (let start = 0; start < wanted.length; start += 200) {
    const answer = await database.bulkGet({ docs: wanted.slice(start, start + 200), revs: true, attachments: true });
    for (const result of answer.results) for (const found of result.docs) leaves.push(canonical(found.ok));
  }
  const shown = (await database.allDocs()).rows.map(row => `${row.id} ${row.value.rev}`);
  return JSON.stringify({ leaves: leaves.sort(), shown: shown.sort() });
}

function canonical(document) {
  if (!document) throw new Error("a leaf is missing");
  const attachments = Object.entries(document._attachments ?? {}).map(([name, fields]) =>
    [name, fields.content_type, Buffer.isBuffer(fields.data) ? fields.data.toString("base64") : fields.data]);
  const rest = Object.entries(document).filter(([name]) => name !== "_attachments");
  return JSON.stringify([rest.sort(([left], [right]) => (left < right ? -1 : 1)), attachments.sort()]);
}

async function edit(database) {
  for (const row of (await database.allDocs({ limit: 20 })).rows) await database.put({ _id: row.id, _rev: row.value.rev, edited: "back" });
  await database.put({ _id: "new on the other side", _attachments: { file: attachment("new") } });
}

const [first, second] = process.argv.slice(2).map(address => new PouchDB(address));
const local = new PouchDB("local", { adapter: "memory" });
const last = new PouchDB("last", { adapter: "memory" });
await fill(local);
await PouchDB.replicate(local, first);
await PouchDB.replicate(first, second);
await PouchDB.replicate(second, last);
const there = await Promise.all([local, first, second, last].map(contents));
await edit(second);
await PouchDB.replicate(second, first);
await PouchDB.replicate(first, local);
const back = await Promise.all([second, first, local].map(contents));
const again = await PouchDB.replicate(second, first);
console.log(JSON.stringify({
  leaves: JSON.parse(there[0]).leaves.length,
  shown: JSON.parse(there[0]).shown.length,
  thereEqual: there.every(text => text === there[0]),
  backEqual: back.every(text => text === back[0]),
  backDiffers: back[0] !== there[0],
  writtenAgain: again.docs_written,
}));
process.exit(0);
