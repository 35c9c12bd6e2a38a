/**
 * Measures a step's round trip with a real Python rank, without the mixture's work:
 * `node --import ./register.mjs test/bridge/round-trips.ts`.
 */
import { z } from "zod";
import { BridgeServer } from "../../src/bridge/server.ts";
import { EchoRoom } from "./echo-room.ts";
import { PythonPeer } from "./peers.ts";

const D = 256;
const CASES = [
  { n: 128, k: 256, steps: 1000 },
  { n: 128, k: 2048, steps: 1000 },
  { n: 128, k: 8192, steps: 300 },
  { n: 512, k: 8192, steps: 100 },
];

const peer = await PythonPeer.start();
for (const endpoint of ["auto", "tcp://127.0.0.1:*"]) {
  for (const { n, k, steps } of CASES) {
    const room = new EchoRoom(D, k);
    const data = new Float32Array(n * k).fill(1 / k);
    room.onStep = async () => {
      room.batches.length = 0;
      return { scalars: { lr: 0.1 }, commands: [], targets: { n, k, data } };
    };
    const server = await BridgeServer.start({ endpoint, open: async () => room });
    await peer.join(server.endpoint);
    const seconds = z.array(z.number()).parse(await peer.call("loop", { steps, n, d: D }));
    const median = seconds.slice(steps / 10).sort((a, b) => a - b)[Math.floor(steps * 0.45)] ?? 0;
    const transport = server.endpoint.slice(0, 3);
    const sizes = `${(n * D) / 256} KB up, ${(n * k) / 256} KB down`;
    process.stdout.write(`${transport}  ${sizes.padEnd(24)} ${(1000 * median).toFixed(2)} ms\n`);
    await peer.call("close");
    await server.close();
  }
}
await peer.kill();
