// calls OPENED READ PORT: as calls.c does, on the main thread and on those that Node has for files.
"use strict";
const fs = require("fs");
const net = require("net");
const readline = require("readline");

const TIMES = 10;
const [opened, read, port] = process.argv.slice(2);
const file = fs.openSync(read, "r");

async function asynchronously(seen) {
    const count = (op, done) => done.then(
        (value) => { seen(op, 0); return value; },
        (error) => seen(op, -error.errno),
    );
    const byte = Buffer.alloc(1);
    const one = async () => {
        const handle = await count("open", fs.promises.open(opened, "r"));
        await handle?.close();
        await count("read", new Promise((resolve, reject) => {
            fs.read(file, byte, 0, 1, 0, (error) => error ? reject(error) : resolve());
        }));
        await count("connect", new Promise((resolve, reject) => {
            const socket = net.connect(Number(port), "127.0.0.1", () => {
                socket.destroy();
                resolve();
            });
            socket.on("error", reject);
        }));
    };
    await Promise.all(Array.from({ length: TIMES }, one));
}

function synchronously(seen) {
    const count = (op, make) => {
        try {
            const made = make();
            seen(op, 0);
            return made;
        } catch (error) {
            seen(op, -error.errno);
        }
    };
    const byte = Buffer.alloc(1);
    for (let time = 0; time < TIMES; time++) {
        const fd = count("open", () => fs.openSync(opened, "r"));
        if (fd !== undefined) {
            fs.closeSync(fd);
        }
        count("read", () => fs.readSync(file, byte, 0, 1, 0));
    }
}

async function main() {
    console.log("ready");
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const counts = { open: {}, read: {}, connect: {} };
        const seen = (op, errno) => { counts[op][errno] = (counts[op][errno] ?? 0) + 1; };
        synchronously(seen);
        await asynchronously(seen);
        const words = Object.entries(counts).map(([op, by]) =>
            `${op}=${Object.entries(by).map(([errno, count]) => `${errno}:${count}`).join(",")}`);
        console.log(words.join(" "));
    }
}

main();
