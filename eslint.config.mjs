// Biome formats and lints; ESLint is here for what needs types: a promise that nobody waits for.
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["node_modules", "python_env", "data", "runs", "build", "**/*.{js,cjs,mjs}"] },
  {
    files: ["**/*.ts"],
    languageOptions: { parser: tseslint.parser, parserOptions: { projectService: true } },
    plugins: { "@typescript-eslint": tseslint.plugin },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
    },
  },
);
