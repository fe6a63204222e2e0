-- What the new password has to be like (JSON), from the agent's answer to the right code. Goes with the flow.
ALTER TABLE flow ADD COLUMN rules TEXT;
