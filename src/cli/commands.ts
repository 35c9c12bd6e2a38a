import type { Command } from "commander";

export interface CommandEntry {
  /** The usage line in the list of commands. */
  readonly words: string;
  readonly summary: string;
  /** Loads the function that registers it with a program. */
  readonly load: () => Promise<(program: Command) => void>;
}

/**
 * All commands. A command's code is loaded only when it is called. So the list is fast, and `doctor` works even if the
 * code for training cannot be loaded. A test compares `words` and `summary` with each command's code.
 */
export const COMMANDS: ReadonlyMap<string, CommandEntry> = new Map(
  Object.entries({
    train: {
      words: "train [options] <config> [key=value...]",
      summary: "one run",
      load: async () => (await import("./train.ts")).train,
    },
    compare: {
      words: "compare [options] <config...>",
      summary: "arms side by side, one summary",
      load: async () => (await import("./compare.ts")).compare,
    },
    run: {
      words: "run [options] <file> [key=value...]",
      summary: "an experiment in TypeScript",
      load: async () => (await import("./run.ts")).run,
    },
    resume: {
      words: "resume [options] [run] [key=value...]",
      summary: "continue a run from its last checkpoint",
      load: async () => (await import("./resume.ts")).resume,
    },
    data: {
      words: "data [options] [name] [key=value...]",
      summary: "the data sets: their folders, how to get them, images per class",
      load: async () => (await import("./data.ts")).data,
    },
    keys: {
      words: "keys",
      summary: "make, list and revoke keys of a server that other machines can reach (serve --keys FOLDER)",
      load: async () => (await import("./keys.ts")).keys,
    },
    serve: {
      words: "serve [options] [config] [key=value...]",
      summary: "the plugin as a server for drop-in heads",
      load: async () => (await import("./serve.ts")).serve,
    },
    fit: {
      words: "fit [options] <embeddings> [key=value...]",
      summary: "the plugin alone over saved embeddings",
      load: async () => (await import("./fit.ts")).fit,
    },
    evaluate: {
      words: "evaluate [options] <of> [key=value...]",
      summary: "k-NN, linear, per class, head/medium/tail of frozen features",
      load: async () => (await import("./evaluate.ts")).evaluate,
    },
    export: {
      words: "export [options] <run> <file>",
      summary: "the trained encoder as a file that timm or torchvision loads without mixhead",
      load: async () => (await import("./export.ts")).exportEncoder,
    },
    watch: {
      words: "watch [options] <run>",
      summary: "the live page of a run",
      load: async () => (await import("./watch.ts")).watch,
    },
    diagnose: {
      words: "diagnose [options] <file>",
      summary: "how far any prototypes have collapsed",
      load: async () => (await import("./diagnose.ts")).diagnose,
    },
    report: {
      words: "report [options] <run...>",
      summary: "redraw the page of a run, or draw one page of several runs side by side",
      load: async () => (await import("./report.ts")).report,
    },
    doctor: {
      words: "doctor [options]",
      summary: "what is installed, what is missing, what to do",
      load: async () => (await import("./doctor.ts")).doctor,
    },
  }),
);
