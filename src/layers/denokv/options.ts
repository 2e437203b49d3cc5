import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import type * as Queue from "../../Queue.ts"

/**
 * Where the store is and how it is talked to.
 *
 * @since 0.1.0
 * @category options
 */
export interface ConnectionOptions {
  /**
   * The file (its folder must exist, and lie on a local file system), `":memory:"` for a store that ends with the layer, or the `http` or
   * `https` URL of a KV Connect server. There is no default: what Deno takes without a path depends on the script that runs.
   */
  readonly path: string
  /** For a URL. Default: the environment's `DENO_KV_ACCESS_TOKEN`. */
  readonly accessToken?: string | Redacted.Redacted | undefined
  /** How long opening may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /**
   * How long one call of a remote store may take, with all its attempts; a commit that got no answer by then is asked for by its id.
   * Local stores bound themselves. Default: 10 seconds.
   */
  readonly timeout?: Duration.Input | undefined
  /** How long a write waits for other processes that lock the file. Default: 5 seconds. */
  readonly lockTimeout?: Duration.Input | undefined
}

/**
 * The options of the layers that have a Kv.
 *
 * @since 0.1.0
 * @category options
 */
export interface KvOptions {
  /**
   * How many commits the change log remembers at least: how far back a watch can resume. The log is trimmed by some hundred commits at a
   * time. Processes of one store should agree: the smallest number wins. Default: 10,000.
   */
  readonly logLength?: number | undefined
  /** Spans around operations. Default: true. */
  readonly tracing?: boolean | undefined
}

/**
 * Everything a layer with both seams can be told: the queue is `Queue.layerKv` over this store.
 *
 * @since 0.1.0
 * @category options
 */
export interface Options extends ConnectionOptions, KvOptions, Omit<Queue.KvQueueLayerOptions, "store"> {}
