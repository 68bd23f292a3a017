/** A token of a formula. */
export interface Token {
  readonly kind: 'number' | 'letter' | 'command' | 'symbol';
  readonly text: string;
}

/** Commands and characters that mean the same as a symbol. */
const sameAs: Readonly<Record<string, string>> = {
  '\\cdot': '*',
  '\\times': '*',
  '\\div': '/',
  '×': '*',
  '·': '*',
  '÷': '/',
  '−': '-',
  '–': '-',
  '\\lvert': '|',
  '\\rvert': '|',
  '\\vert': '|',
  '\\dfrac': '\\frac',
  '\\tfrac': '\\frac',
  '\\cfrac': '\\frac',
  π: '\\pi',
  '∞': '\\infty',
  '**': '^',
};

/** Words of plain text that are commands without their backslash. */
const words =
  /^(?:arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|exp|sqrt|log|ln|pi|theta|infty|infinity)/;

/** Cuts a formula into tokens; null where a character belongs to none. */
export function readTokens(latex: string): Token[] | null {
  const tokens: Token[] = [];
  let rest = latex.trim();
  while (rest !== '') {
    const word = words.exec(rest)?.[0];
    const found = /^\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|^\d+(?:\.\d*)?|^\.\d+|^\\[A-Za-z]+|^\\?[\s\S]/u.exec(
      rest,
    )![0];
    const text = word ?? found;
    rest = rest.slice(text.length).trimStart();
    if (word !== undefined)
      tokens.push({ kind: 'command', text: word === 'infinity' ? '\\infty' : `\\${word}` });
    else if (/^[\d.]*\d/.test(text)) tokens.push({ kind: 'number', text: text.replaceAll(',', '') });
    else {
      const meant = sameAs[text === '*' && rest.startsWith('*') ? '**' : text] ?? text;
      if (text === '*' && meant === '^') rest = rest.slice(1).trimStart();
      if (/^\\[A-Za-z]+$/.test(meant)) tokens.push({ kind: 'command', text: meant });
      else if (/^[A-Za-z]$/.test(meant)) tokens.push({ kind: 'letter', text: meant });
      else if (/^[-+*/^_!|()[\]{}]$/.test(meant)) tokens.push({ kind: 'symbol', text: meant });
      else return null;
    }
  }
  return tokens;
}
