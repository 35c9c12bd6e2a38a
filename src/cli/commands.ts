import type { Command } from "commander";

export interface CommandEntry {
  /** Its words, as the list of commands shows them. */
  readonly words: string;
  readonly summary: string;
  /** Loads the code that adds it to a program. */
  readonly load: () => Promise<(program: Command) => void>;
}

/**
 * All commands. A command's code is loaded when it is called: the list needs none of it, and `doctor` nothing that
 * training loads. A test compares `words` and `summary` with what the code says.
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
      summary: "go on where the last checkpoint of a run is",
      load: async () => (await import("./resume.ts")).resume,
    },
    data: {
      words: "data [options] [name] [key=value...]",
      summary: "the data sets: where they are, how to get them, images per class",
      load: async () => (await import("./data.ts")).data,
    },
    keys: {
      words: "keys",
      summary: "the keys of a server that other machines can reach (serve --keys FOLDER): make, list, revoke",
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
      summary: "draw the page of a run again, or one page of several side by side",
      load: async () => (await import("./report.ts")).report,
    },
    doctor: {
      words: "doctor [options]",
      summary: "what is installed, what is missing, what to do",
      load: async () => (await import("./doctor.ts")).doctor,
    },
  }),
);
