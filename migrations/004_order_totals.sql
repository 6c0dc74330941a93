-- Migration: 004_order_totals
-- Description: Keeps the total of an order up to date with a trigger
-- Author: Jon Brandt
-- Date: 2025-03-17
-- Requires: 003_orders

-- Half of a branch: 005_stock also starts at 003_orders, and neither knows of the other.

ALTER TABLE shop.orders ADD COLUMN total_cents bigint NOT NULL DEFAULT 0;

CREATE FUNCTION shop.update_order_total() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    changed bigint[];
BEGIN
    -- A line may move from one order to another; then both totals change.
    IF TG_OP = 'INSERT' THEN
        changed := ARRAY[NEW.order_id];
    ELSIF TG_OP = 'DELETE' THEN
        changed := ARRAY[OLD.order_id];
    ELSE
        changed := ARRAY[OLD.order_id, NEW.order_id];
    END IF;

    UPDATE shop.orders AS o
       SET total_cents = coalesce((SELECT sum(l.quantity * l.price_cents)
                                     FROM shop.order_lines AS l
                                    WHERE l.order_id = o.id), 0)
     WHERE o.id = ANY (changed);
    RETURN NULL;
END;
$$;

CREATE TRIGGER order_lines_total
    AFTER INSERT OR UPDATE OR DELETE ON shop.order_lines
    FOR EACH ROW EXECUTE FUNCTION shop.update_order_total();

-- Orders from before the trigger.
UPDATE shop.orders AS o
   SET total_cents = l.total
  FROM (SELECT order_id, sum(quantity * price_cents) AS total FROM shop.order_lines GROUP BY order_id) AS l
 WHERE l.order_id = o.id;
