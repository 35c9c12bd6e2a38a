import { Context, Reply } from "zeromq";
import { sentence, UserError } from "../errors.ts";

/**
 * Keys of CURVE as 40 characters of Z85 (zeromq's `curveKeyPair()` makes pairs): the server's own pair,
 * and the public keys of the clients that are let in.
 */
export interface Security {
  serverKeys: { publicKey: string; secretKey: string };
  allowedClients: string[];
  /** Who is let in by now, asked for every connection; without it the list stays as it is. */
  allowedNow?(): Promise<string[]>;
}

/**
 * Lets in the clients on a list, and nobody else. CURVE alone proves that a client has some key and
 * takes any: libzmq asks this handler (ZAP, RFC 27) whether it is one of the right ones.
 */
export class AllowList {
  /** What a socket needs that this list guards: a context of their own, since each has one handler. */
  readonly socketOptions;
  private readonly socket: Reply;
  private allowed: Buffer[];
  private readonly allowedNow: Security["allowedNow"];
  private loop: Promise<void> = Promise.resolve();

  private constructor({ serverKeys, allowedClients, allowedNow }: Security) {
    this.allowed = allowedClients.map(keyBytes);
    this.allowedNow = allowedNow;
    keyBytes(serverKeys.publicKey);
    keyBytes(serverKeys.secretKey);
    const context = new Context();
    this.socket = new Reply({ context });
    this.socketOptions = {
      context,
      curveServer: true,
      curveSecretKey: serverKeys.secretKey,
      zapDomain: "mixhead",
    };
  }

  /** Throws UserError where a key is none. */
  static async open(security: Security): Promise<AllowList> {
    const list = new AllowList(security);
    await list.socket.bind("inproc://zeromq.zap.01");
    list.loop = list.answer();
    return list;
  }

  private async answer(): Promise<void> {
    for await (const [version, request, , , , mechanism, key] of this.socket) {
      await this.readAgain();
      const welcome =
        mechanism?.toString() === "CURVE" && this.allowed.some((each) => key && each.equals(key));
      const [status, text] = welcome ? ["200", "OK"] : ["400", "this key is not on the list"];
      await this.socket.send([version ?? "", request ?? "", status, text, "", ""]);
    }
  }

  /** A list that cannot be read lets nobody in. */
  private async readAgain(): Promise<void> {
    try {
      if (this.allowedNow) this.allowed = (await this.allowedNow()).map(keyBytes);
    } catch (error) {
      this.allowed = [];
      process.emitWarning(`nobody is let in: ${sentence(error)}`);
    }
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.loop;
  }
}

const Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** The 32 bytes of a key in Z85: five characters are four bytes, big-endian in base 85. */
function keyBytes(text: string): Buffer {
  const digits = [...text].map((character) => Z85.indexOf(character));
  if (text.length !== 40 || digits.includes(-1))
    throw new UserError("a key of CURVE has 40 characters of Z85");
  const bytes = Buffer.alloc(32);
  for (let word = 0; word < 8; word++) {
    const value = digits.slice(5 * word, 5 * word + 5).reduce((sum, digit) => sum * 85 + digit, 0);
    if (value > 0xffffffff) throw new UserError("a key of CURVE has 40 characters of Z85");
    bytes.writeUInt32BE(value, 4 * word);
  }
  return bytes;
}
