/** What is used of jStat, which brings no types. */
declare module 'jstat' {
  const jStat: {
    studentt: {
      /** The quantile of Student's t at `p` in (0, 1) with `dof` degrees of freedom. */
      inv(p: number, dof: number): number;
    };
  };
  export default jStat;
}
