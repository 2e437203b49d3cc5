/**
 * Schedules by name. Each is a plain cron expression, read in the job's zone; all fire at second 0.
 *
 * @since 0.1.0
 * @category presets
 */
export const presets = {
  everyMinute: "* * * * *",
  every5Minutes: "*/5 * * * *",
  every15Minutes: "*/15 * * * *",
  every30Minutes: "*/30 * * * *",
  /** At minute 0. */
  everyHour: "0 * * * *",
  /** At midnight. */
  everyDay: "0 0 * * *",
  /** At 12:00 each day. */
  noon: "0 12 * * *",
  /** At midnight when Sunday begins. */
  everyWeek: "0 0 * * 0",
  /** At midnight when the month begins. */
  everyMonth: "0 0 1 * *",
  /** At 9:00, Monday to Friday. */
  weekdays9am: "0 9 * * 1-5",
  /** At 18:00, Monday to Friday. */
  weekdays6pm: "0 18 * * 1-5",
  /** At 12:00, Saturday and Sunday. */
  weekendNoon: "0 12 * * 0,6"
} as const
