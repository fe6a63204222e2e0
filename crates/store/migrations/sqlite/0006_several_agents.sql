-- Where several agents serve one domain: the one that mailed the code checks it, and vouches for it to the others.
ALTER TABLE flow ADD COLUMN agent TEXT;   -- the key that its messages are sealed to
ALTER TABLE flow ADD COLUMN voucher TEXT; -- what it signed when the code was right
