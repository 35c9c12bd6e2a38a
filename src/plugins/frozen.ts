import * as tf from "@tensorflow/tfjs-core";
import { UserError } from "../errors.ts";
