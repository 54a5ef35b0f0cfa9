"""Many runs as one piece of work: study files, what lies in a results folder, runs joined and compared."""
