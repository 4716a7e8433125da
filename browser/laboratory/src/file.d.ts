declare module "*?file" {
  const url: string;
  export default url;
}
