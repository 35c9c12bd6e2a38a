import { existsSync } from "node:fs";
import { join } from "node:path";
import { dataDir } from "../files/paths.ts";
import { CIFAR10, dataIsWhole } from "./cifar10.ts";
import { FASHION_MNIST_FILES } from "./fashion-mnist.ts";

/** A data set by its name in the configuration. */
export interface DataSet {
  name: string;
  what: string;
  /** Its folder; undefined if it is given by the configuration's `data.path`. */
  folder?: string;
  present: boolean;
  /** How to get it. */
  get: string;
}

/** All data sets that a configuration can name, with their folders, or how to get them. */
export async function dataSets(): Promise<DataSet[]> {
  const cifar10 = join(dataDir(), "cifar10");
  const fashion = join(dataDir(), "fashion-mnist");
  const cifar10Present = await dataIsWhole(CIFAR10, cifar10);
  return [
    {
      name: "cifar10",
      what: "50,000 + 10,000 images of 32 x 32, 10 classes",
      folder: cifar10,
      present: cifar10Present,
      get: "`npm run setup` fetches it (139 MB)",
    },
    {
      name: "cifar10-lt",
      what: "CIFAR-10 with a long tail (data.imbalance)",
      folder: cifar10,
      present: cifar10Present,
      get: "made from cifar10: `npm run setup` fetches that (139 MB)",
    },
    {
      name: "fashion-mnist",
      what: "60,000 + 10,000 images of 28 x 28, 10 classes",
      folder: fashion,
      present: FASHION_MNIST_FILES.every(
        (file) => existsSync(join(fashion, file)) || existsSync(join(fashion, `${file}.gz`)),
      ),
      get: "`npx mixhead data fashion-mnist --fetch` (31 MB, on Debian and Ubuntu)",
    },
    {
      name: "folder",
      what: "your own images",
      present: false,
      get: "data.path=DIR, with DIR/train/CLASS/* and DIR/val/CLASS/*",
    },
    {
      name: "inat2018",
      what: "iNaturalist 2018",
      present: false,
      get: "data.path=DIR, with the unpacked train_val2018/ and its train2018.json and val2018.json",
    },
  ];
}
