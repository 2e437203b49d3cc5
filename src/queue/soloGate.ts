/**
 * A message whose claim was lost twice while its handler ran may be one that kills its process. It is run alone, so that it takes
 * no other message's attempt with it: what runs is waited for, nothing starts beside it, and no worker of the process claims
 * meanwhile. Its worker hands it back when it has waited for a lease.
 */
export class SoloGate {
  private running = 0
  private alone = false
  /** Ordinary messages were refused since the listeners were last called. */
  private shut = false
  private readonly waiting: Array<() => void> = []
  private readonly listeners = new Set<() => void>()

  /** May an ordinary message start? */
  get open(): boolean {
    return !this.alone && this.waiting.length === 0
  }

  /** Counts an ordinary message in; only while `open`. */
  enter(): void {
    this.running++
  }

  /** Calls `granted` when it is this message's turn to run alone, perhaps at once. The answer gives the place in line up. */
  enterAlone(granted: () => void): () => void {
    this.waiting.push(granted)
    this.shut = true
    this.admit()
    return () => {
      const at = this.waiting.indexOf(granted)
      if (at < 0) return
      this.waiting.splice(at, 1)
      this.admit()
    }
  }

  /** The message has ended. */
  leave(): void {
    this.running--
    if (this.running === 0) this.alone = false
    this.admit()
  }

  /** Calls `opened` whenever ordinary messages may start again. */
  onOpen(opened: () => void): () => void {
    this.listeners.add(opened)
    return () => this.listeners.delete(opened)
  }

  private admit(): void {
    if (this.alone) return
    if (this.waiting.length > 0) {
      if (this.running > 0) return
      this.alone = true
      this.running = 1
      this.waiting.shift()!()
      return
    }
    if (!this.shut) return
    this.shut = false
    for (const opened of this.listeners) opened()
  }
}
