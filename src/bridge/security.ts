import { Context, Reply } from "zeromq";
import { sentence, UserError } from "../errors.ts";

/**
 * Keys of CURVE as 40 characters of Z85 (zeromq's `curveKeyPair()` makes pairs): the server's own pair,
 * and the public keys of the clients that are admitted.
 */
export interface Security {
  serverKeys: { publicKey: string; secretKey: string };
  allowedClients: string[];
  /** The current list, read for every connection; without this, the list does not change. */
  allowedNow?(): Promise<string[]>;
}

/**
 * Admits only the clients on a list. CURVE alone accepts any client that has some key, so libzmq asks this handler
 * (ZAP, RFC 27) whether the key is on the list.
 */
export class AllowList {
  /** Options of a socket that this list guards. It needs a context of its own, since a context has one handler. */
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

  /** Throws UserError if a key is invalid. */
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

  /** If the list cannot be read, nobody is admitted. */
  private async readAgain(): Promise<void> {
    try {
      if (this.allowedNow) this.allowed = (await this.allowedNow()).map(keyBytes);
    } catch (error) {
      this.allowed = [];
      process.emitWarning(`no client is admitted: ${sentence(error)}`);
    }
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.loop;
  }
}

const Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/** The 32 bytes of a key in Z85, where five characters encode four bytes, big-endian in base 85. */
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
