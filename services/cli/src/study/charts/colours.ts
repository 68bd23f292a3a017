/** Readable on white, and apart for those who see no red or green (Okabe and Ito). */
export const COLOUR = {
  blue: '#0072b2',
  orange: '#d55e00',
  green: '#009e73',
  purple: '#a3478a',
  grey: '#6e7781',
  light: '#d0d7de',
} as const;
