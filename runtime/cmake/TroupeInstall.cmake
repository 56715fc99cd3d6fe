# Installs headers, libraries, the command and an exported package.
